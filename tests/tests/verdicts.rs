//! Packet verdicts by BPF_PROG_TEST_RUN: crafted frames, no device. Both hooks must agree.

use std::net::SocketAddr;

use aya::maps::{HashMap, MapData, PerCpuArray};
use aya::programs::{ProgramError, SchedClassifier, TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use portcullis::kernel::filter::Deadline;
use portcullis::kernel::load::object;
use portcullis_ebpf::layout::{
    ADDRESSES, Address, BROKERS, BrokerKey, BrokerKeyWords, DRAINING, FILTER_TC, FILTER_XDP, OPEN, PortRange,
    Slot, SlotWords, VERDICTS, address,
};
use portcullis_ebpf::verdict::Verdict;
use portcullis_tests::frames::{ACK, RST, SYN, fragment_v4, other, tagged, tcp, udp, with_extras};
use portcullis_tests::require;

const V4: &str = "10.77.0.1";
const V6: &str = "fd00:77::1";
const OPEN_PORT: u16 = 10_001;
const CLOSED_PORT: u16 = 10_002;
const EXPIRED_PORT: u16 = 10_003;
const DRAINING_PORT: u16 = 10_004;

/// The programs, loaded and not attached, with brokers on both addresses.
struct Bench {
    programs: Ebpf,
    verdicts: PerCpuArray<MapData, u64>,
}

impl Bench {
    fn new() -> Self {
        let mut programs =
            EbpfLoader::new().map_max_entries(BROKERS, 64).load(object()).expect("the object loads");
        let range = PortRange { first: 10_000, last: 15_000 }.to_words();
        let mut addresses: HashMap<MapData, Address, [u16; 2]> =
            programs.take_map(ADDRESSES).expect("the map").try_into().expect("its kind");
        let mut brokers: HashMap<MapData, BrokerKeyWords, SlotWords> =
            programs.take_map(BROKERS).expect("the map").try_into().expect("its kind");
        let ahead = Deadline::after(std::time::Duration::from_secs(3600)).expect("a clock").0;
        for ip in [V4, V6] {
            let ip = ip.parse().expect("an address");
            addresses.insert(address(ip), range, 0).expect("inserts");
            for (port, state, deadline_ns) in
                [(OPEN_PORT, OPEN, ahead), (EXPIRED_PORT, OPEN, 1), (DRAINING_PORT, DRAINING, ahead)]
            {
                let key = BrokerKey::new(SocketAddr::new(ip, port)).to_words();
                let slot = Slot { deadline_ns, generation: 1, state, flags: 0 };
                brokers.insert(key, slot.to_words(), 0).expect("inserts");
            }
        }
        let program: &mut SchedClassifier = find(&mut programs, FILTER_TC).try_into().expect("its kind");
        program.load().expect("the verifier takes it");
        let program: &mut Xdp = find(&mut programs, FILTER_XDP).try_into().expect("its kind");
        program.load().expect("the verifier takes it");
        let verdicts = programs.take_map(VERDICTS).expect("the map").try_into().expect("its kind");
        Self { programs, verdicts }
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

fn find<'a>(programs: &'a mut Ebpf, name: &str) -> &'a mut aya::programs::Program {
    programs.program_mut(name).expect("the program")
}

fn to(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), port)
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
