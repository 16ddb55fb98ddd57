//! A scanner learns nothing: a closed port, an open one that is not for him, and one past its deadline reply
//! alike to whatever he sends.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use portcullis::kernel::filter::{Backend, Change, Deadline, Entry, LEASE};
use portcullis::kernel::hook::Hook;
use portcullis::kernel::load::load;
use portcullis::kernel::object::Plan;
use portcullis::relay::listener::steering::Pair;
use portcullis_ebpf::layout::{Limits, OPEN};
use portcullis_tests::namespace::{HERE, Neighbour, THERE, in_namespace};
use portcullis_tests::{PATIENCE, require};
use socket2::{Domain, Protocol, Socket, Type};

const CLOSED: u16 = 10_100;
const NOT_FOR_HIM: u16 = 10_101;
const EXPIRED: u16 = 10_102;
const PORTS: [u16; 3] = [CLOSED, NOT_FOR_HIM, EXPIRED];
/// Of another address range: nobody judges what goes there.
const MARKER: u16 = 9;

const PROBES: usize = 200;
const ACK: u8 = 0x10;
/// Name, flags, and how many of a hundred probes are replied to.
const KINDS: [(&str, u8, usize); 5] =
    [("SYN", 0x02, 0), ("ACK", ACK, 100), ("FIN", 0x01, 0), ("NULL", 0x00, 0), ("Xmas", 0x29, 0)];

/// A raw socket of the scanner's.
struct Scanner(Socket);

impl Scanner {
    fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)).expect("a raw socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("an option");
        socket.set_recv_buffer_size(4 << 20).expect("an option");
        Self(socket)
    }

    fn send(&self, from: u16, port: u16, flags: u8) {
        let to = SocketAddrV4::new(address(HERE[0]), port);
        let segment = segment(address(THERE[0]), to, from, flags);
        self.0.send_to(&segment, &SocketAddr::V4(to).into()).expect("sends");
    }

    /// The next reply, as `(source port, destination port)`.
    fn receive(&self) -> (u16, u16) {
        let mut packet = [0; 128];
        let len = (&self.0).read(&mut packet).expect("a reply");
        let tcp = &packet[usize::from(packet[0] & 0x0f) * 4..len];
        (u16::from_be_bytes([tcp[0], tcp[1]]), u16::from_be_bytes([tcp[2], tcp[3]]))
    }

    /// How many of `PROBES` probes of one kind each port replied to.
    fn replies(&self, flags: u8) -> [usize; 3] {
        for probe in 0..PROBES {
            for port in PORTS {
                self.send(20_000 + probe as u16, port, flags);
            }
        }
        // Packets keep their order: what is not replied to before this is not replied to.
        self.send(30_000, MARKER, ACK);
        let mut replies = [0; 3];
        loop {
            match self.receive() {
                (MARKER, 30_000) => return replies,
                (port, 20_000..30_000) => {
                    let place = PORTS.iter().position(|asked| *asked == port);
                    replies[place.expect("a port that was asked")] += 1;
                }
                _ => {}
            }
        }
    }

    /// How long each port took to reply, in turn; who is the first changes from round to round.
    fn times(&self) -> [Vec<Duration>; 3] {
        let mut times = [const { Vec::new() }; 3];
        for probe in 0..PROBES {
            for turn in 0..PORTS.len() {
                let place = (probe + turn) % PORTS.len();
                let (port, from) = (PORTS[place], 40_000 + probe as u16);
                let began = Instant::now();
                self.send(from, port, ACK);
                while self.receive() != (port, from) {}
                times[place].push(began.elapsed());
            }
        }
        times
    }
}

fn address(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

/// RFC 9293 section 3.1, without options or data.
fn segment(source: Ipv4Addr, to: SocketAddrV4, from: u16, flags: u8) -> [u8; 20] {
    let mut segment = [0; 20];
    segment[0..2].copy_from_slice(&from.to_be_bytes());
    segment[2..4].copy_from_slice(&to.port().to_be_bytes());
    segment[4..8].copy_from_slice(&77_u32.to_be_bytes());
    segment[12] = 0x50;
    segment[13] = flags;
    segment[14..16].copy_from_slice(&1_024_u16.to_be_bytes());
    let pseudo = [&source.octets()[..], &to.ip().octets(), &[0, 6, 0, 20]].concat();
    let words = pseudo.chunks_exact(2).chain(segment.chunks_exact(2));
    let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    segment[16..18].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    segment
}

/// A difference below this is nothing that a network lets anybody see. A slot that is found is read, which takes a
/// third of it; between two namespaces on a quiet machine even that tells.
const TELLING: Duration = Duration::from_nanos(250);

/// The upper of the two in the middle.
fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}

/// In which part of all pairs the first is the shorter one: a half where there is no difference, 0 or 1 where
/// every reply tells.
fn shorter(first: &[Duration], second: &[Duration]) -> f64 {
    let pairs = first.iter().flat_map(|a| second.iter().map(move |b| (a < b, a == b)));
    let won: f64 = pairs
        .map(|(less, same)| {
            if less {
                1.0
            } else if same {
                0.5
            } else {
                0.0
            }
        })
        .sum();
    won / (first.len() * second.len()) as f64
}

#[test]
fn ports_that_are_not_for_him_reply_alike() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let neighbour = Neighbour::new();
        let here: IpAddr = HERE[0].parse().expect("an address");
        let plan = Plan {
            addresses: vec![here],
            range: 10_000..=15_000,
            exclude: Vec::new(),
            interfaces: vec!["out".into()],
            hook: Some(Hook::Tc),
            limits: Limits::default(),
        };
        let mut loaded = load(&plan).expect("the kernel takes it");
        let mut steering = loaded.steering.expect("the kernel steers");
        let pair = Pair::bind().expect("listeners");
        steering.set(&[(&pair.v4, pair.v6.as_ref())]).expect("takes the listeners");
        let elsewhere = Some("203.0.113.0/24".parse().expect("a network"));
        let open = |port, client, ahead| {
            let deadline = Deadline::after(ahead).expect("a clock");
            let endpoint = SocketAddr::new(here, port);
            Change::Open(Entry { endpoint, state: OPEN, generation: 1, client, deadline })
        };
        let changes = [open(NOT_FOR_HIM, elsewhere, LEASE), open(EXPIRED, None, Duration::ZERO)];
        loaded.filter.apply(&changes).expect("opens");

        neighbour.inside(|| {
            let scanner = Scanner::new();
            for (name, flags, replied) in KINDS {
                assert_eq!(scanner.replies(flags), [PROBES * replied / 100; 3], "{name}");
            }
            let [closed, not_for_him, expired] = scanner.times();
            for (name, times) in [("not for him", not_for_him), ("expired", expired)] {
                // By chance it is a half, give or take three hundredths.
                let part = shorter(&closed, &times);
                let apart = median(&closed).abs_diff(median(&times));
                assert!(
                    (0.25..=0.75).contains(&part) || apart < TELLING,
                    "{name}: closed is the faster one in {part} of all pairs, {apart:?} apart"
                );
            }
        });
        // And none of them came to a listener.
        pair.v4.set_nonblocking(true).expect("an option");
        assert_eq!(pair.v4.accept().expect_err("nobody").kind(), std::io::ErrorKind::WouldBlock);
    });
}
