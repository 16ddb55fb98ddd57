//! Packet verdicts by BPF_PROG_TEST_RUN: crafted frames, no device. Both hooks must agree.

use std::net::{IpAddr, SocketAddr};

use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::programs::{ProgramError, SchedClassifier, TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use portcullis::kernel::filter::Deadline;
use portcullis::kernel::object::object;
use portcullis_ebpf::layout::{
    ADDRESSES, ANYWHERE, Address, BOUNDS, BROKERS, Bounds, BoundsWords, BrokerKey, BrokerKeyWords, COUNTS,
    Counts, CountsWords, DRAINING, FILTER_TC, FILTER_XDP, LIMITS, Limit, Limits, LimitsWords, OPEN,
    PortRange, Prefix, Slot, SlotWords, VERDICTS, address,
};
use portcullis_ebpf::verdict::Verdict;
use portcullis_tests::frames::{
    ACK, FIN, RST, SYN, fragment_v4, other, tagged, tcp, tcp_from, udp, with_extras,
};
use portcullis_tests::require;

const V4: &str = "10.77.0.1";
const V6: &str = "fd00:77::1";
const OPEN_PORT: u16 = 10_001;
const CLOSED_PORT: u16 = 10_002;
const EXPIRED_PORT: u16 = 10_003;
const DRAINING_PORT: u16 = 10_004;
/// Open to [`CLIENTS`] only.
const CLIENTS_PORT: u16 = 10_005;
/// Open to [`CLIENTS`] once, and past its deadline.
const LATE_CLIENTS_PORT: u16 = 10_006;
const CLIENTS: [(&str, u8); 2] = [("198.51.100.64", 26), ("2001:db8:1::", 48)];
const GENERATION: u32 = 7;

/// The programs, loaded and not attached, with brokers on both addresses.
struct Bench {
    programs: Ebpf,
    verdicts: PerCpuArray<MapData, u64>,
    counts: Array<MapData, CountsWords>,
    limits: Array<MapData, LimitsWords>,
}

impl Bench {
    fn new() -> Self {
        let mut programs =
            EbpfLoader::new().map_max_entries(BROKERS, 64).load(object()).expect("the object loads");
        let range = PortRange { first: 10_000, last: 15_000 };
        let judged = [V4, V6].map(|ip| address(ip.parse().expect("an address")));
        let mut addresses: HashMap<MapData, Address, [u16; 2]> =
            programs.take_map(ADDRESSES).expect("the map").try_into().expect("its kind");
        let mut brokers: HashMap<MapData, BrokerKeyWords, SlotWords> =
            programs.take_map(BROKERS).expect("the map").try_into().expect("its kind");
        let mut bounds: Array<MapData, BoundsWords> =
            programs.take_map(BOUNDS).expect("the map").try_into().expect("its kind");
        bounds.set(0, Bounds::new(range, judged).to_words(), 0).expect("sets");
        let ahead = Deadline::after(std::time::Duration::from_secs(3600)).expect("a clock").0;
        for ip in [V4, V6] {
            let ip = ip.parse().expect("an address");
            addresses.insert(address(ip), range.to_words(), 0).expect("inserts");
            let (network, len) = CLIENTS[usize::from(ip.is_ipv6())];
            let clients = Prefix::new(network.parse().expect("an address"), len);
            for (port, state, deadline_ns, client) in [
                (OPEN_PORT, OPEN, ahead, ANYWHERE),
                (EXPIRED_PORT, OPEN, 1, ANYWHERE),
                (DRAINING_PORT, DRAINING, ahead, ANYWHERE),
                (CLIENTS_PORT, OPEN, ahead, clients),
                (LATE_CLIENTS_PORT, OPEN, 1, clients),
            ] {
                let endpoint = SocketAddr::new(ip, port);
                let place = place(endpoint);
                let slot = Slot { deadline_ns, client, generation: GENERATION, place, state };
                brokers.insert(BrokerKey::new(endpoint).to_words(), slot.to_words(), 0).expect("inserts");
            }
        }
        let program: &mut SchedClassifier = find(&mut programs, FILTER_TC).try_into().expect("its kind");
        program.load().expect("the verifier takes it");
        let program: &mut Xdp = find(&mut programs, FILTER_XDP).try_into().expect("its kind");
        program.load().expect("the verifier takes it");
        let verdicts = programs.take_map(VERDICTS).expect("the map").try_into().expect("its kind");
        let counts = programs.take_map(COUNTS).expect("the map").try_into().expect("its kind");
        let limits = programs.take_map(LIMITS).expect("the map").try_into().expect("its kind");
        Self { programs, verdicts, counts, limits }
    }

    fn limit(&mut self, limits: Limits) {
        self.limits.set(0, limits.to_words(), 0).expect("sets");
    }

    /// What was counted at the place of `endpoint`.
    fn counts(&self, endpoint: SocketAddr) -> Counts {
        Counts::from_words(self.counts.get(&place(endpoint), 0).expect("reads"))
    }

    /// Checks that `frame` gets `expected` at both hooks, and that exactly its counter moves.
    fn check(&mut self, what: &str, frame: &[u8], expected: Verdict) {
        let before = self.counters();
        let returned = self.run_tc(frame).unwrap_or_else(|error| panic!("tc: {what}: {error}"));
        assert_eq!(returned, if expected.drops() { 2 } else { -1 }, "tc: {what}");
        self.moved(what, before, expected);
        self.check_xdp(what, frame, expected);
    }

    fn check_xdp(&mut self, what: &str, frame: &[u8], expected: Verdict) {
        let before = self.counters();
        let program: &mut Xdp = find(&mut self.programs, FILTER_XDP).try_into().expect("its kind");
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::default() };
        let returned =
            program.test_run(options).unwrap_or_else(|error| panic!("xdp: {what}: {error}")).return_value;
        assert_eq!(returned, if expected.drops() { 1 } else { 2 }, "xdp: {what}");
        self.moved(what, before, expected);
    }

    fn run_tc(&mut self, frame: &[u8]) -> Result<i32, ProgramError> {
        let program: &mut SchedClassifier = find(&mut self.programs, FILTER_TC).try_into().expect("its kind");
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::default() };
        Ok(program.test_run(options)?.return_value.cast_signed())
    }

    fn counters(&self) -> [u64; Verdict::ALL.len()] {
        Verdict::ALL.map(|verdict| self.verdicts.get(&(verdict as u32), 0).expect("reads").iter().sum())
    }

    fn moved(&self, what: &str, before: [u64; Verdict::ALL.len()], expected: Verdict) {
        for ((verdict, before), after) in Verdict::ALL.into_iter().zip(before).zip(self.counters()) {
            let moved = u64::from(verdict == expected);
            assert_eq!(after - before, moved, "{what}: counter {}", verdict.name());
        }
    }
}

/// Even for IPv4, odd for IPv6.
fn place(endpoint: SocketAddr) -> u32 {
    u32::from(endpoint.port() - 10_000) * 2 + u32::from(endpoint.is_ipv6())
}

fn find<'a>(programs: &'a mut Ebpf, name: &str) -> &'a mut aya::programs::Program {
    programs.program_mut(name).expect("the program")
}

fn to(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), port)
}

/// An address that is not [`V4`], and has its bit in [`Bounds`].
fn twin() -> String {
    let bounds = Bounds::new(PortRange { first: 0, last: 0 }, [address(V4.parse().expect("an address"))]);
    let mut others = (0..=255).map(|host| IpAddr::from([10, 78, 0, host]));
    others.find(|ip| bounds.may_hold(&address(*ip), 0)).expect("one of them has").to_string()
}

#[test]
fn new_connections_to_broker_ports_are_judged() {
    if !require::kernel() {
        return;
    }
    let mut bench = Bench::new();
    for ip in [V4, V6] {
        bench.check("open", &tcp(to(ip, OPEN_PORT), SYN), Verdict::Open);
        bench.check("closed", &tcp(to(ip, CLOSED_PORT), SYN), Verdict::Closed);
        bench.check("first port", &tcp(to(ip, 10_000), SYN), Verdict::Closed);
        bench.check("last port", &tcp(to(ip, 15_000), SYN), Verdict::Closed);
        bench.check("expired", &tcp(to(ip, EXPIRED_PORT), SYN), Verdict::Expired);
        bench.check("draining", &tcp(to(ip, DRAINING_PORT), SYN), Verdict::Closed);
    }
}

#[test]
fn segments_with_ack_or_reset_are_not_judged() {
    if !require::kernel() {
        return;
    }
    let mut bench = Bench::new();
    for flags in 0..=u8::MAX {
        let expected = if flags & (ACK | RST) == 0 { Verdict::Closed } else { Verdict::NotJudged };
        bench.check(&format!("flags {flags:#04x}"), &tcp(to(V4, CLOSED_PORT), flags), expected);
        bench.check(&format!("flags {flags:#04x}"), &tcp(to(V6, CLOSED_PORT), flags), expected);
    }
}

#[test]
fn what_is_not_ours_passes() {
    if !require::kernel() {
        return;
    }
    let mut bench = Bench::new();
    for (what, frame) in [
        ("port below", tcp(to(V4, 9_999), SYN)),
        ("port above", tcp(to(V6, 15_001), SYN)),
        ("another address", tcp(to("10.77.0.3", CLOSED_PORT), SYN)),
        ("another address that may be ours at first sight", tcp(to(&twin(), CLOSED_PORT), SYN)),
        ("another address, v6", tcp(to("fd00:77::3", CLOSED_PORT), SYN)),
        ("an IPv4 address in an IPv6 packet", tcp(to("::10.77.0.1", CLOSED_PORT), SYN)),
        ("UDP", udp(to(V4, CLOSED_PORT))),
        ("UDP, v6", udp(to(V6, CLOSED_PORT))),
        ("ARP", other(0x0806, &[0; 28])),
        ("an unknown ethertype", other(0x88b5, &[0x45; 60])),
        ("an IPv6 packet that says it is IPv4", other(0x0800, &tcp(to(V6, CLOSED_PORT), SYN)[14..])),
        ("an IPv4 packet that says it is IPv6", other(0x86dd, &tcp(to(V4, CLOSED_PORT), SYN)[14..])),
    ] {
        bench.check(what, &frame, Verdict::NotJudged);
    }
    let mut short_header = tcp(to(V4, CLOSED_PORT), SYN);
    short_header[14] = 0x44;
    bench.check("an IPv4 header of 16 bytes", &short_header, Verdict::NotJudged);
}

#[test]
fn vlan_tags_are_looked_behind() {
    if !require::kernel() {
        return;
    }
    let mut bench = Bench::new();
    for ip in [V4, V6] {
        for tags in [&[0x8100][..], &[0x88a8, 0x8100], &[0x8100, 0x8100]] {
            bench.check(&format!("{tags:04x?}"), &tagged(tags, to(ip, CLOSED_PORT), SYN), Verdict::Closed);
            bench.check(&format!("{tags:04x?}"), &tagged(tags, to(ip, OPEN_PORT), SYN), Verdict::Open);
        }
        let three = tagged(&[0x88a8, 0x8100, 0x8100], to(ip, CLOSED_PORT), SYN);
        bench.check("three tags", &three, Verdict::NotJudged);
    }
}

#[test]
fn options_and_extension_headers_are_looked_behind() {
    if !require::kernel() {
        return;
    }
    let mut bench = Bench::new();
    for words in 0..=10 {
        let options = [(0, vec![1; words * 4])];
        let frame = with_extras(to(V4, CLOSED_PORT), &options, SYN);
        bench.check(&format!("{words} words of options"), &frame, Verdict::Closed);
    }
    let hop_by_hop = (0, vec![0; 8]);
    let mut long = vec![0; 24];
    long[1] = 2;
    let destination = (60, long);
    let mut first_fragment = vec![0; 8];
    first_fragment[3] = 1;
    let mut later_fragment = first_fragment.clone();
    later_fragment[2] = 1;
    let authentication = (51, {
        let mut bytes = vec![0; 24];
        bytes[1] = 4;
        bytes
    });
    let routing = (43, vec![0; 8]);
    for (what, extensions, expected) in [
        ("hop-by-hop", vec![hop_by_hop.clone()], Verdict::Closed),
        ("destination options", vec![destination.clone()], Verdict::Closed),
        ("first fragment", vec![(44, first_fragment.clone())], Verdict::Closed),
        ("later fragment", vec![(44, later_fragment)], Verdict::NotJudged),
        ("authentication", vec![authentication.clone()], Verdict::Closed),
        (
            "the order of RFC 8200",
            vec![
                hop_by_hop.clone(),
                destination.clone(),
                routing,
                (44, first_fragment),
                authentication,
                destination,
            ],
            Verdict::Closed,
        ),
        ("seven", vec![hop_by_hop.clone(); 7], Verdict::Closed),
        ("eight", vec![hop_by_hop; 8], Verdict::NotJudged),
        ("an unknown one", vec![(135, vec![0; 8])], Verdict::NotJudged),
        ("encrypted", vec![(50, vec![0; 8])], Verdict::NotJudged),
    ] {
        bench.check(what, &with_extras(to(V6, CLOSED_PORT), &extensions, SYN), expected);
    }
}

#[test]
fn the_first_fragment_decides() {
    if !require::kernel() {
        return;
    }
    let mut bench = Bench::new();
    bench.check("first", &fragment_v4(to(V4, CLOSED_PORT), 0, SYN), Verdict::Closed);
    bench.check("later", &fragment_v4(to(V4, CLOSED_PORT), 1, SYN), Verdict::NotJudged);
}

#[test]
fn what_is_cut_short_passes() {
    if !require::kernel() {
        return;
    }
    let mut bench = Bench::new();
    for ip in [V4, V6] {
        let whole = tcp(to(ip, CLOSED_PORT), SYN);
        // Ethernet, network header, and the TCP header up to its flags.
        let needed = if ip == V4 { 14 + 20 + 14 } else { 14 + 40 + 14 };
        // The kernel makes no socket buffer for a test run of less than the network header; at XDP
        // everything from an Ethernet header on can be tried.
        let whole_network_header = needed - 14;
        for len in 14..=whole.len() {
            let expected = if len < needed { Verdict::NotJudged } else { Verdict::Closed };
            let what = format!("{len} bytes to {ip}");
            if len < whole_network_header {
                bench.check_xdp(&what, &whole[..len], expected);
                if let Ok(returned) = bench.run_tc(&whole[..len]) {
                    assert_eq!(returned, -1, "tc: {what}");
                }
            } else {
                bench.check(&what, &whole[..len], expected);
            }
        }
    }
}

fn from(source: &str, port: u16, flags: u8) -> Vec<u8> {
    let source: IpAddr = source.parse().expect("an address");
    tcp_from(source, to(if source.is_ipv4() { V4 } else { V6 }, port), flags)
}

#[test]
fn a_broker_for_a_network_lets_in_nobody_else() {
    if !require::kernel() {
        return;
    }
    let mut bench = Bench::new();
    for (source, expected) in [
        ("198.51.100.64", Verdict::Open),
        ("198.51.100.127", Verdict::Open),
        ("198.51.100.63", Verdict::WrongSource),
        ("198.51.100.128", Verdict::WrongSource),
        ("203.0.113.64", Verdict::WrongSource),
        ("2001:db8:1:ffff::1", Verdict::Open),
        ("2001:db8:2::1", Verdict::WrongSource),
        ("2001:db8:0:ffff:ffff:ffff:ffff:ffff", Verdict::WrongSource),
    ] {
        bench.check(source, &from(source, CLIENTS_PORT, SYN), expected);
        // Who may not come in does not learn that it is late.
        let late = if expected == Verdict::Open { Verdict::Expired } else { expected };
        bench.check(source, &from(source, LATE_CLIENTS_PORT, SYN), late);
        for flags in [0, FIN] {
            bench.check(&format!("{source}, flags {flags:#x}"), &from(source, CLIENTS_PORT, flags), expected);
        }
    }
}

#[test]
fn what_became_of_new_connections_is_counted_for_each_broker() {
    if !require::kernel() {
        return;
    }
    let mut bench = Bench::new();
    let (inside, outside) = ("198.51.100.70", "203.0.113.1");
    bench.check("inside", &from(inside, CLIENTS_PORT, SYN), Verdict::Open);
    bench.check("outside", &from(outside, CLIENTS_PORT, SYN), Verdict::WrongSource);
    bench.check("no connection", &from(inside, CLIENTS_PORT, FIN), Verdict::Open);
    // Each was tried at both hooks.
    let expected = Counts { generation: GENERATION, open: 2, wrong_source: 2, ..Counts::default() };
    assert_eq!(bench.counts(to(V4, CLIENTS_PORT)), expected);
    bench.check("expired", &tcp(to(V6, EXPIRED_PORT), SYN), Verdict::Expired);
    assert_eq!(bench.counts(to(V6, EXPIRED_PORT)).expired, 2);
    assert_eq!(bench.counts(to(V4, EXPIRED_PORT)), Counts::default());
}

#[test]
fn a_source_has_its_limit_and_v6_neighbours_share_one() {
    if !require::kernel() {
        return;
    }
    // One an hour: whatever time this test takes, nothing is given back.
    let mut bench = Bench::new();
    let per_hour = Limit { interval_ns: 3_600_000_000_000, ahead_ns: 3 * 3_600_000_000_000 };
    bench.limit(Limits { source: per_hour, ..Limits::default() });
    // Four at once, two to each of two brokers.
    let (first, second) = (from("198.51.100.70", OPEN_PORT, SYN), from("198.51.100.70", CLIENTS_PORT, SYN));
    bench.check("first", &first, Verdict::Open);
    // From outside nothing is paid.
    bench.check("outside", &from("203.0.113.1", CLIENTS_PORT, SYN), Verdict::WrongSource);
    bench.check("second", &second, Verdict::Open);
    bench.check("over", &first, Verdict::RateLimited);
    bench.check("over", &second, Verdict::RateLimited);
    bench.check("no connection", &from("198.51.100.70", OPEN_PORT, FIN), Verdict::Open);
    assert_eq!(bench.counts(to(V4, OPEN_PORT)).rate_limited, 2);
    for neighbour in ["198.51.100.71", "203.0.113.1"] {
        bench.check(neighbour, &from(neighbour, OPEN_PORT, SYN), Verdict::Open);
    }
    for source in ["2001:db8:1::1", "2001:db8:1::2"] {
        bench.check(source, &from(source, OPEN_PORT, SYN), Verdict::Open);
    }
    bench.check("its /64 is over", &from("2001:db8:1::3", OPEN_PORT, SYN), Verdict::RateLimited);
    bench.check("the next /64", &from("2001:db8:1:1::3", OPEN_PORT, SYN), Verdict::Open);
}

#[test]
fn a_broker_has_its_limit() {
    if !require::kernel() {
        return;
    }
    let mut bench = Bench::new();
    let per_hour = Limit { interval_ns: 3_600_000_000_000, ahead_ns: 3_600_000_000_000 };
    bench.limit(Limits { broker: per_hour, ..Limits::default() });
    bench.check("two, one at each hook", &from("198.51.100.70", OPEN_PORT, SYN), Verdict::Open);
    bench.check("another source", &from("198.51.100.71", OPEN_PORT, SYN), Verdict::RateLimited);
    bench.check("another broker", &from("198.51.100.71", CLIENTS_PORT, SYN), Verdict::Open);
}
