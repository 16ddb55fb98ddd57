//! A filter in the kernel with a listener behind it, and clients that try to come in.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use portcullis::kernel::filter::nft::NftFilter;
use portcullis::kernel::filter::{Backend, Change, Counters, Deadline, Entry, LEASE};
use portcullis::kernel::hook::{Hook, Hooks};
use portcullis::kernel::load::{Loaded, load};
use portcullis::kernel::object::Plan;
use portcullis::kernel::steering::Steering;
use portcullis::relay::listener::steering::Pair;
use portcullis_ebpf::layout::{Limits, OPEN};
use portcullis_ebpf::verdict::Verdict;
use socket2::{Domain, Socket, Type};

use crate::namespace::Neighbour;
use crate::target::{accept, bounded};
use crate::{PATIENCE, wait_for};

/// A filter mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// eBPF at this hook, with steering.
    Ebpf(Hook),
    /// nftables, with a socket for each broker.
    Nft,
}

/// A port that is excluded from the range of every [`Gate`].
pub const EXCLUDED: u16 = 14_000;

/// What a gate for `addresses` on `interface` judges.
pub fn plan(addresses: &[&str], interface: &str, hook: Option<Hook>) -> Plan {
    Plan {
        addresses: addresses.iter().map(|ip| ip.parse().expect("an address")).collect(),
        range: 10_000..=15_000,
        exclude: vec![EXCLUDED],
        interfaces: vec![interface.into()],
        hook,
        limits: Limits::default(),
    }
}

/// A filter, and what listens behind it.
pub struct Gate {
    /// The filter.
    pub filter: Box<dyn Backend>,
    kind: Kind,
    behind: Behind,
}

enum Behind {
    Steering(Box<Steered>),
    /// Made when asked for.
    Ports(RefCell<HashMap<SocketAddr, TcpListener>>),
}

/// Nothing is filtered or steered any more when it is dropped.
struct Steered {
    _hooks: Hooks,
    _steering: Steering,
    pair: Pair,
}

impl Steered {
    fn listener(&self, ip: IpAddr) -> &TcpListener {
        if ip.is_ipv4() { &self.pair.v4 } else { self.pair.v6.as_ref().expect("IPv6") }
    }
}

impl Gate {
    /// One for `addresses` on `interface`, without limits.
    ///
    /// # Panics
    /// The kernel refuses.
    pub fn new(kind: Kind, addresses: &[&str], interface: &str) -> Self {
        Self::limited(kind, addresses, interface, Limits::default())
    }

    /// The same with limits.
    ///
    /// # Panics
    /// The kernel refuses.
    pub fn limited(kind: Kind, addresses: &[&str], interface: &str, limits: Limits) -> Self {
        match kind {
            Kind::Ebpf(hook) => {
                let plan = Plan { limits, ..plan(addresses, interface, Some(hook)) };
                let Loaded { filter, hooks, steering } = load(&plan).expect("the kernel takes it");
                let mut steering = steering.expect("the kernel steers");
                let pair = Pair::bind().expect("listeners");
                steering.set(&[(&pair.v4, pair.v6.as_ref())]).expect("takes the listeners");
                let steered = Box::new(Steered { _hooks: hooks, _steering: steering, pair });
                Self { filter: Box::new(filter), kind, behind: Behind::Steering(steered) }
            }
            Kind::Nft => {
                let plan = Plan { limits, ..plan(addresses, interface, None) };
                let filter = NftFilter::new(&plan).expect("the kernel takes it");
                Self { filter: Box::new(filter), kind, behind: Behind::Ports(RefCell::default()) }
            }
        }
    }

    /// What new connections get after the deadline: the element of a set is then gone.
    pub const fn late(&self) -> Verdict {
        match self.kind {
            Kind::Ebpf(_) => Verdict::Expired,
            Kind::Nft => Verdict::Closed,
        }
    }

    /// How long after its deadline a broker is open at most, in nanoseconds. In nftables a time-out is in whole
    /// seconds, rounded up, and runs from when the kernel has it: a second for either.
    pub const fn lateness_ns(&self) -> u64 {
        match self.kind {
            Kind::Ebpf(_) => 0,
            Kind::Nft => 2_000_000_000,
        }
    }

    /// Opens as `entry` says.
    ///
    /// # Panics
    /// The kernel refuses.
    pub fn put(&mut self, entry: Entry) {
        self.listen(entry.endpoint);
        self.filter.apply(&[Change::Open(entry)]).expect("opens");
    }

    /// Opens to everybody.
    pub fn open(&mut self, endpoint: SocketAddr) {
        self.put(entry(endpoint));
    }

    /// Closes; what listens behind goes on listening.
    ///
    /// # Panics
    /// The kernel refuses.
    pub fn close(&mut self, endpoint: SocketAddr) {
        self.filter.apply(&[Change::Close(endpoint)]).expect("closes");
    }

    /// Packets by verdict.
    ///
    /// # Panics
    /// The kernel refuses.
    pub fn count(&self) -> Counters {
        self.filter.counters().expect("reads")
    }

    fn listen(&self, endpoint: SocketAddr) {
        if let Behind::Ports(ports) = &self.behind {
            let bind = || TcpListener::bind(endpoint).expect("binds");
            ports.borrow_mut().entry(endpoint).or_insert_with(bind);
        }
    }

    /// The next connection to `endpoint`, and where it comes from.
    ///
    /// # Panics
    /// None comes.
    pub fn accept(&self, endpoint: SocketAddr) -> (TcpStream, SocketAddr) {
        self.listen(endpoint);
        match &self.behind {
            Behind::Ports(ports) => accept(&ports.borrow()[&endpoint]),
            Behind::Steering(steered) => accept(steered.listener(endpoint.ip())),
        }
    }

    /// Takes all connections to `endpoint` that wait, and lets go of them.
    ///
    /// # Panics
    /// Nobody listens there, as where connections are steered.
    pub fn take_all(&self, endpoint: SocketAddr) {
        let Behind::Ports(ports) = &self.behind else { panic!("nobody listens at {endpoint}") };
        let listener = &ports.borrow()[&endpoint];
        listener.set_nonblocking(true).expect("an option");
        while listener.accept().is_ok() {}
        listener.set_nonblocking(false).expect("an option");
    }

    /// Where the listeners are that is steered to.
    ///
    /// # Panics
    /// Nothing is steered.
    pub fn steered_to(&self, ip: IpAddr) -> SocketAddr {
        let Behind::Steering(steered) = &self.behind else { panic!("nothing is steered") };
        steered.listener(ip).local_addr().expect("an address")
    }

    /// Begins to connect to `endpoint` from `neighbour` and waits until the filter counted it: it is dropped,
    /// and nobody answers.
    ///
    /// # Panics
    /// It has another verdict.
    pub fn drops(&self, neighbour: &Neighbour, endpoint: SocketAddr, verdict: Verdict) {
        self.drops_from(neighbour, None, endpoint, verdict);
    }

    /// The same from an address of the neighbour's own.
    ///
    /// # Panics
    /// It has another verdict.
    pub fn drops_from(
        &self,
        neighbour: &Neighbour,
        source: Option<IpAddr>,
        endpoint: SocketAddr,
        verdict: Verdict,
    ) {
        let before = self.count().get(verdict);
        let attempt = neighbour.inside(|| begin(source, endpoint));
        wait_for(&format!("{endpoint} to be {}", verdict.name()), || {
            (self.count().get(verdict) > before).then_some(())
        });
        assert!(attempt.take_error().expect("an option").is_none(), "{endpoint} answered");
        assert!(attempt.peer_addr().is_err(), "{endpoint} is connected");
    }
}

/// Open to everybody, for as long as brokers are.
///
/// # Panics
/// The system has no clock.
pub fn entry(endpoint: SocketAddr) -> Entry {
    let deadline = Deadline::after(LEASE).expect("a clock");
    Entry { endpoint, state: OPEN, generation: 1, client: None, deadline }
}

/// Begins to connect, and does not wait.
fn begin(source: Option<IpAddr>, endpoint: SocketAddr) -> Socket {
    let socket = socket(source, endpoint);
    socket.set_nonblocking(true).expect("an option");
    // "In progress" is what is wanted here; anything else shows in what the caller looks at.
    let _ = socket.connect(&endpoint.into());
    socket
}

fn socket(source: Option<IpAddr>, endpoint: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(endpoint), Type::STREAM, None).expect("a socket");
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into()).expect("an address of ours");
    }
    socket
}

/// Connects. Reads and writes are bounded in time.
///
/// # Panics
/// Nobody answers, or refuses.
pub fn connect(endpoint: SocketAddr) -> TcpStream {
    connect_from(None, endpoint)
}

/// The same from an address of one's own.
///
/// # Panics
/// Nobody answers, or refuses.
pub fn connect_from(source: Option<IpAddr>, endpoint: SocketAddr) -> TcpStream {
    let socket = socket(source, endpoint);
    socket.connect_timeout(&endpoint.into(), PATIENCE).expect("connects");
    let stream: TcpStream = socket.into();
    bounded(&stream);
    stream
}

/// An endpoint.
///
/// # Panics
/// `ip` is no address.
pub fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), port)
}

/// Checks that bytes go both ways.
///
/// # Panics
/// They do not.
pub fn talks(mut a: &TcpStream, mut b: &TcpStream) {
    let mut heard = [0; 5];
    a.write_all(b"there").expect("writes");
    b.read_exact(&mut heard).expect("reads");
    assert_eq!(&heard, b"there");
    b.write_all(b"back!").expect("writes");
    a.read_exact(&mut heard).expect("reads");
    assert_eq!(&heard, b"back!");
}
