//! Filter and steering with real packets, each test in network namespaces of its own.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use aya::programs::{SchedClassifier, TcAttachType};
use portcullis::kernel::filter::ebpf::EbpfFilter;
use portcullis::kernel::filter::{Backend, Change, Counters, Deadline, Entry, LEASE};
use portcullis::kernel::hook::{Hook, Hooks};
use portcullis::kernel::load::load;
use portcullis::kernel::object::Plan;
use portcullis::kernel::steering::Steering;
use portcullis::relay::listener::steering::Pair;
use portcullis_ebpf::layout::{DRAINING, Limits, OPEN};
use portcullis_ebpf::verdict::Verdict;
use portcullis_tests::gateway::ADDRESS;
use portcullis_tests::namespace::{HERE, Neighbour, THERE, in_namespace};
use portcullis_tests::process::run;
use portcullis_tests::target::{accept, bounded};
use portcullis_tests::{PATIENCE, require, wait_for};
use socket2::{Domain, SockRef, Socket, Type};

/// Filter on `interface` for `addresses`, steering to one pair of listeners.
struct Gate {
    filter: EbpfFilter,
    _hooks: Hooks,
    _steering: Steering,
    pair: Pair,
}

impl Gate {
    fn new(addresses: &[&str], interface: &str, hook: Hook) -> Self {
        let plan = Plan {
            addresses: addresses.iter().map(|ip| ip.parse().expect("an address")).collect(),
            range: 10_000..=15_000,
            exclude: vec![14_000],
            interfaces: vec![interface.into()],
            hook: Some(hook),
            limits: Limits::default(),
        };
        let loaded = load(&plan).expect("the kernel takes it");
        let mut steering = loaded.steering.expect("the kernel steers");
        let pair = Pair::bind().expect("listeners");
        steering.set(&[(&pair.v4, pair.v6.as_ref())]).expect("takes the listeners");
        Self { filter: loaded.filter, _hooks: loaded.hooks, _steering: steering, pair }
    }

    fn put(&mut self, endpoint: SocketAddr, state: u32, deadline: Deadline) {
        let entry = Entry { endpoint, state, generation: 1, client: None, deadline };
        self.filter.apply(&[Change::Open(entry)]).expect("opens");
    }

    fn open(&mut self, endpoint: SocketAddr) {
        self.put(endpoint, OPEN, Deadline::after(LEASE).expect("a clock"));
    }

    fn close(&mut self, endpoint: SocketAddr) {
        self.filter.apply(&[Change::Close(endpoint)]).expect("closes");
    }

    fn count(&self) -> Counters {
        self.filter.counters().expect("reads")
    }

    fn listener(&self, ip: IpAddr) -> &TcpListener {
        if ip.is_ipv4() { &self.pair.v4 } else { self.pair.v6.as_ref().expect("IPv6") }
    }

    /// Begins to connect to `endpoint` and waits until the filter counted it: it is dropped, and nobody
    /// answers.
    fn drops(&self, endpoint: SocketAddr, verdict: Verdict) {
        let before = self.count().get(verdict);
        let attempt = begin(endpoint);
        wait_for(&format!("{endpoint} to be {}", verdict.name()), || {
            (self.count().get(verdict) > before).then_some(())
        });
        assert!(attempt.take_error().expect("an option").is_none(), "{endpoint} answered");
        assert!(attempt.peer_addr().is_err(), "{endpoint} is connected");
    }
}

/// Begins to connect, and does not wait.
fn begin(endpoint: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(endpoint), Type::STREAM, None).expect("a socket");
    socket.set_nonblocking(true).expect("an option");
    // "In progress" is what is wanted here; anything else shows in what the caller looks at.
    let _ = socket.connect(&endpoint.into());
    socket
}

fn connect(endpoint: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&endpoint, PATIENCE).expect("connects");
    bounded(&stream);
    stream
}

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), port)
}

/// Checks that bytes go both ways.
fn talks(mut a: &TcpStream, mut b: &TcpStream) {
    let mut heard = [0; 5];
    a.write_all(b"there").expect("writes");
    b.read_exact(&mut heard).expect("reads");
    assert_eq!(&heard, b"there");
    b.write_all(b"back!").expect("writes");
    a.read_exact(&mut heard).expect("reads");
    assert_eq!(&heard, b"back!");
}

fn a_closed_port_is_dropped_and_counted(hook: Hook) {
    in_namespace(|| {
        let mut gate = Gate::new(&[ADDRESS], "lo", hook);
        let endpoint = at(ADDRESS, 10_001);
        gate.drops(endpoint, Verdict::Closed);
        // A service of somebody else on that port makes no difference.
        let foreign = TcpListener::bind(endpoint).expect("binds");
        gate.drops(endpoint, Verdict::Closed);
        gate.open(endpoint);
        let client = connect(endpoint);
        let (server, _) = accept(gate.listener(endpoint.ip()));
        assert_eq!(server.local_addr().expect("an address"), endpoint);
        talks(&client, &server);
        gate.close(endpoint);
        gate.drops(endpoint, Verdict::Closed);
        drop(foreign);
        // A port that is not ours is left alone, whatever set is stated.
        gate.filter.replace(&[]).expect("replaces");
        let excluded = at(ADDRESS, 14_000);
        let refused = TcpStream::connect_timeout(&excluded, PATIENCE).expect_err("nobody listens");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        let service = TcpListener::bind(excluded).expect("binds");
        let client = connect(excluded);
        talks(&client, &accept(&service).0);
    });
}

#[test]
fn a_closed_port_is_dropped_and_counted_at_tc() {
    if require::kernel() {
        a_closed_port_is_dropped_and_counted(Hook::Tc);
    }
}

#[test]
fn a_closed_port_is_dropped_and_counted_at_generic_xdp() {
    if require::kernel() {
        a_closed_port_is_dropped_and_counted(Hook::XdpGeneric);
    }
}

/// Over a veth pair, from another namespace, as clients come.
fn an_open_port_is_steered(hook: Hook) {
    in_namespace(|| {
        let neighbour = Neighbour::new();
        let mut gate = Gate::new(&HERE, "out", hook);
        for ip in HERE {
            for port in [10_000, 12_345, 15_000] {
                let endpoint = at(ip, port);
                neighbour.inside(|| gate.drops(endpoint, Verdict::Closed));
                let before = gate.count().get(Verdict::Open);
                gate.open(endpoint);
                let client = neighbour.inside(|| connect(endpoint));
                let (server, peer) = accept(gate.listener(endpoint.ip()));
                assert_eq!(server.local_addr().expect("an address"), endpoint);
                assert_eq!(peer, client.local_addr().expect("an address"));
                assert!(gate.count().get(Verdict::Open) > before);
                talks(&client, &server);
            }
        }
        // The listeners themselves cannot be reached from outside.
        let own = gate.pair.v4.local_addr().expect("an address").port();
        let refused = neighbour.inside(|| TcpStream::connect_timeout(&at(HERE[0], own), PATIENCE));
        assert_eq!(refused.expect_err("unreachable").kind(), std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn an_open_port_is_steered_with_tc() {
    if require::kernel() {
        an_open_port_is_steered(Hook::Tc);
    }
}

#[test]
fn an_open_port_is_steered_with_generic_xdp() {
    if require::kernel() {
        an_open_port_is_steered(Hook::XdpGeneric);
    }
}

#[test]
fn an_open_port_is_steered_with_native_xdp() {
    if require::kernel() {
        an_open_port_is_steered(Hook::Xdp);
    }
}

#[test]
fn native_xdp_takes_packets_of_many_buffers() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let neighbour = Neighbour::new();
        // More than one buffer of a driver holds.
        run("ip", &["link", "set", "out", "mtu", "9000"]);
        neighbour.inside(|| run("ip", &["link", "set", "in", "mtu", "9000"]));
        let mut gate = Gate::new(&[HERE[0]], "out", Hook::Xdp);
        let endpoint = at(HERE[0], 10_001);
        neighbour.inside(|| gate.drops(endpoint, Verdict::Closed));
        gate.open(endpoint);
        let mut client = neighbour.inside(|| connect(endpoint));
        let (mut server, _) = gate.listener(endpoint.ip()).accept().expect("accepts");
        let sent: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
        let mut received = vec![0; sent.len()];
        std::thread::scope(|threads| {
            threads.spawn(|| client.write_all(&sent).expect("writes"));
            server.read_exact(&mut received).expect("reads");
        });
        assert!(received == sent, "bytes differ");
    });
}

/// What 10,000 connections to services, and to nobody, of this machine come to.
fn ten_thousand_connections() -> Vec<Result<(), std::io::ErrorKind>> {
    let services = [at("127.0.0.1", 9_000), at("127.0.0.1", 12_000), at(ADDRESS, 9_999), at(ADDRESS, 15_001)];
    let nobody = [at("127.0.0.1", 12_001), at(ADDRESS, 9_998)];
    let listeners: Vec<_> =
        services.iter().map(|endpoint| (*endpoint, TcpListener::bind(endpoint).expect("binds"))).collect();
    let mut results = Vec::with_capacity(10_000);
    while results.len() < 10_000 {
        for (endpoint, listener) in &listeners {
            let client = TcpStream::connect_timeout(endpoint, PATIENCE);
            results.push(
                client
                    .map(|client| {
                        let (server, _) = listener.accept().expect("accepts");
                        assert_eq!(server.local_addr().expect("an address"), *endpoint);
                        // A reset leaves nothing in TIME_WAIT.
                        SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("an option");
                    })
                    .map_err(|error| error.kind()),
            );
        }
        for endpoint in nobody {
            results.push(
                TcpStream::connect_timeout(&endpoint, PATIENCE).map(drop).map_err(|error| error.kind()),
            );
        }
    }
    results
}

#[test]
fn other_addresses_and_ports_are_untouched() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let without = ten_thousand_connections();
        let mut gate = Gate::new(&[ADDRESS], "lo", Hook::Tc);
        gate.open(at(ADDRESS, 10_001));
        let before = gate.count();
        let with = ten_thousand_connections();
        assert!(with == without, "filtering changed what connections come to");
        assert!(with.iter().any(Result::is_ok) && with.iter().any(Result::is_err));
        let after = gate.count();
        for verdict in Verdict::ALL {
            let moved = after.get(verdict) - before.get(verdict);
            assert_eq!(moved > 0, verdict == Verdict::NotJudged, "{}: {moved}", verdict.name());
        }
        assert!(after.get(Verdict::NotJudged) - before.get(Verdict::NotJudged) >= 10_000);
    });
}

#[test]
fn an_outgoing_connection_from_a_port_of_the_range_works() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let neighbour = Neighbour::new();
        let _gate = Gate::new(&HERE, "out", Hook::Tc);
        for (ip, there) in HERE.iter().zip(THERE).rev() {
            let listener = neighbour.inside(|| TcpListener::bind(at(there, 9_000)).expect("binds"));
            let local = at(ip, 12_345);
            let socket = Socket::new(Domain::for_address(local), Type::STREAM, None).expect("a socket");
            socket.bind(&local.into()).expect("binds");
            socket.connect_timeout(&at(there, 9_000).into(), PATIENCE).expect("connects");
            let client: TcpStream = socket.into();
            bounded(&client);
            let (server, peer) = accept(&listener);
            assert_eq!(peer, local);
            talks(&client, &server);
            if ip.contains(':') {
                // A link that goes down takes its IPv6 addresses along.
                continue;
            }
            // The far side forgets the connection unheard; its reset, which has no ACK, has to come through.
            SockRef::from(&server).set_linger(Some(Duration::ZERO)).expect("an option");
            neighbour.inside(|| run("ip", &["link", "set", "in", "down"]));
            drop(server);
            neighbour.inside(|| run("ip", &["link", "set", "in", "up"]));
            (&client).write_all(b"anybody?").expect("writes");
            let error = (&client).read(&mut [0; 1]).expect_err("the far side knows nothing of it");
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
    });
}

#[test]
fn a_live_session_survives_the_close_of_its_broker() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let neighbour = Neighbour::new();
        let mut gate = Gate::new(&HERE, "out", Hook::Tc);
        for ip in HERE {
            let endpoint = at(ip, 10_001);
            gate.open(endpoint);
            let mut client = neighbour.inside(|| connect(endpoint));
            let (server, _) = accept(gate.listener(endpoint.ip()));
            gate.close(endpoint);
            neighbour.inside(|| gate.drops(endpoint, Verdict::Closed));
            talks(&client, &server);
            // It ends in good order: both see the other's end.
            drop(server);
            assert_eq!(client.read(&mut [0; 1]).expect("an orderly end"), 0);
        }
    });
}

#[test]
fn a_deadline_refuses() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let mut gate = Gate::new(&[ADDRESS], "lo", Hook::Tc);
        let endpoint = at(ADDRESS, 10_001);
        gate.put(endpoint, OPEN, Deadline::after(Duration::ZERO).expect("a clock"));
        gate.drops(endpoint, Verdict::Expired);
        gate.open(endpoint);
        drop(connect(endpoint));
        gate.put(endpoint, DRAINING, Deadline::after(LEASE).expect("a clock"));
        gate.drops(endpoint, Verdict::Closed);
    });
}

#[test]
fn the_kernel_equals_what_is_stated() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let mut gate = Gate::new(&[ADDRESS], "lo", Hook::Tc);
        let (old, new) = (at(ADDRESS, 10_001), at(ADDRESS, 10_002));
        gate.open(old);
        let deadline = Deadline::after(LEASE).expect("a clock");
        let entry = Entry { endpoint: new, state: OPEN, generation: 2, client: None, deadline };
        for _ in 0..2 {
            gate.filter.replace(&[entry]).expect("replaces");
            gate.drops(old, Verdict::Closed);
            drop(connect(new));
        }
        gate.close(new);
        gate.close(new);
        gate.drops(new, Verdict::Closed);
    });
}

#[test]
fn nothing_stays_attached() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let attached = || {
            let (_, programs) = SchedClassifier::query_tcx("lo", TcAttachType::Ingress).expect("answers");
            programs.len()
        };
        assert_eq!(attached(), 0);
        let mut gate = Gate::new(&[ADDRESS], "lo", Hook::Tc);
        let endpoint = at(ADDRESS, 10_001);
        gate.open(endpoint);
        assert_eq!(attached(), 1);
        drop(gate);
        assert_eq!(attached(), 0);
        // Steering is gone too: the port is as closed as any, and says so.
        let refused = TcpStream::connect_timeout(&endpoint, PATIENCE).expect_err("nobody listens");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn an_interface_that_is_not_there_leaves_nothing_behind() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let plan = Plan {
            addresses: vec![ADDRESS.parse().expect("an address")],
            range: 10_000..=15_000,
            exclude: vec![14_000],
            interfaces: vec!["lo".into(), "nosuch0".into()],
            hook: None,
            limits: Limits::default(),
        };
        let error = load(&plan).map(drop).expect_err("there is no such interface");
        assert!(error.to_string().contains("nosuch0"), "{error}");
        let (_, programs) = SchedClassifier::query_tcx("lo", TcAttachType::Ingress).expect("answers");
        assert!(programs.is_empty());
    });
}
