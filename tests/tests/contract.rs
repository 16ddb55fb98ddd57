//! One contract for every filter mechanism, with real packets: each clause in network namespaces of its own,
//! from a neighbour's, as clients come. What is special about eBPF is in `filter.rs`, what the daemon makes
//! of nftables in `nft.rs`.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use portcullis::kernel::filter::none::NoFilter;
use portcullis::kernel::filter::{Backend, BrokerCounts, BrokerId, Change, Counters, Deadline, Entry};
use portcullis::kernel::hook::Hook;
use portcullis_ebpf::layout::{DRAINING, Limit, Limits};
use portcullis_ebpf::verdict::Verdict;
use portcullis_tests::frames::{ACK, RST, segment};
use portcullis_tests::gate::{EXCLUDED, Gate, Kind, at, connect, connect_from, entry, talks};
use portcullis_tests::gateway::ADDRESS;
use portcullis_tests::namespace::{HERE, Neighbour, THERE, in_namespace};
use portcullis_tests::process::run;
use portcullis_tests::target::{accept, bounded};
use portcullis_tests::{PATIENCE, require, wait_for};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Runs `clause` for `kind` in a namespace of its own.
fn hold(kind: Kind, clause: fn(Kind, &Neighbour)) {
    let able = match kind {
        Kind::Ebpf(_) => require::kernel(),
        Kind::Nft => require::nft(),
    };
    if able {
        in_namespace(|| clause(kind, &Neighbour::new()));
    }
}

const EBPF_TC: Kind = Kind::Ebpf(Hook::Tc);
const EBPF_XDP: Kind = Kind::Ebpf(Hook::Xdp);
const EBPF_XDP_GENERIC: Kind = Kind::Ebpf(Hook::XdpGeneric);
const NFT: Kind = Kind::Nft;

/// A test for each clause and mechanism.
macro_rules! contract {
    ($($clause:ident),+ $(,)?) => {
        contract!(ebpf_tc, EBPF_TC: $($clause),+);
        contract!(ebpf_xdp, EBPF_XDP: $($clause),+);
        contract!(ebpf_xdp_generic, EBPF_XDP_GENERIC: $($clause),+);
        contract!(nft, NFT: $($clause),+);
    };
    ($name:ident, $kind:ident: $($clause:ident),+) => {
        mod $name {
            $(#[test]
            fn $clause() {
                super::hold(super::$kind, super::$clause);
            })+
        }
    };
}

contract! {
    a_closed_port_is_silent_and_an_open_one_lets_in,
    a_port_that_is_not_ours_is_left_alone,
    what_is_stated_is_what_there_is,
    of_several_changes_the_last_one_counts,
    a_deadline_closes_and_renewing_prevents_it,
    a_broker_for_a_network_lets_in_nobody_else,
    a_source_has_its_limit,
    a_broker_has_its_limit,
    each_broker_is_counted_by_itself,
    segments_without_ack_and_reset_are_judged_and_no_others,
    other_addresses_and_ports_are_untouched,
    an_outgoing_connection_from_a_port_of_the_range_works,
    a_live_session_survives_the_close_of_its_broker,
}

fn a_closed_port_is_silent_and_an_open_one_lets_in(kind: Kind, neighbour: &Neighbour) {
    let mut gate = Gate::new(kind, &HERE, "out");
    for ip in HERE {
        for port in [10_000, 12_345, 15_000] {
            let endpoint = at(ip, port);
            gate.drops(neighbour, endpoint, Verdict::Closed);
            for _ in 0..2 {
                let before = gate.count().get(Verdict::Open);
                gate.open(endpoint);
                gate.open(endpoint);
                let client = neighbour.inside(|| connect(endpoint));
                let (server, peer) = gate.accept(endpoint);
                assert_eq!(server.local_addr().expect("an address"), endpoint);
                assert_eq!(peer, client.local_addr().expect("an address"));
                talks(&client, &server);
                assert_eq!(gate.count().get(Verdict::Open) - before, 1);
                // Closed twice is closed, also with somebody's service behind it.
                gate.close(endpoint);
                gate.close(endpoint);
                gate.drops(neighbour, endpoint, Verdict::Closed);
            }
        }
    }
}

fn a_port_that_is_not_ours_is_left_alone(kind: Kind, neighbour: &Neighbour) {
    let mut gate = Gate::new(kind, &HERE, "out");
    // Whatever set is stated.
    gate.filter.replace(&[]).expect("replaces");
    for ip in HERE {
        let excluded = at(ip, EXCLUDED);
        let refused = neighbour.inside(|| TcpStream::connect_timeout(&excluded, PATIENCE));
        assert_eq!(refused.expect_err("nobody listens").kind(), ErrorKind::ConnectionRefused);
        let service = TcpListener::bind(excluded).expect("binds");
        let client = neighbour.inside(|| connect(excluded));
        talks(&client, &accept(&service).0);
    }
}

fn what_is_stated_is_what_there_is(kind: Kind, neighbour: &Neighbour) {
    let mut gate = Gate::new(kind, &HERE, "out");
    for ip in HERE {
        let (old, new) = (at(ip, 10_001), at(ip, 10_002));
        gate.open(old);
        gate.open(new);
        gate.close(new);
        for _ in 0..2 {
            gate.filter.replace(&[Entry { generation: 2, ..entry(new) }]).expect("replaces");
            gate.drops(neighbour, old, Verdict::Closed);
            drop(neighbour.inside(|| connect(new)));
        }
        gate.close(new);
        gate.drops(neighbour, new, Verdict::Closed);
    }
}

fn of_several_changes_the_last_one_counts(kind: Kind, neighbour: &Neighbour) {
    let mut gate = Gate::new(kind, &HERE, "out");
    for ip in HERE {
        let (opened, closed) = (at(ip, 10_001), at(ip, 10_002));
        gate.open(closed);
        let changes = [
            Change::Open(entry(opened)),
            Change::Close(opened),
            Change::Close(closed),
            Change::Open(entry(closed)),
            Change::Open(entry(opened)),
            Change::Close(closed),
        ];
        gate.filter.apply(&changes).expect("applies");
        let before = gate.count().get(Verdict::Open);
        gate.drops(neighbour, closed, Verdict::Closed);
        gate.open(opened);
        drop(neighbour.inside(|| connect(opened)));
        assert_eq!(gate.count().get(Verdict::Open) - before, 1);
        gate.filter.apply(&[]).expect("applies nothing");
    }
}

fn a_deadline_closes_and_renewing_prevents_it(kind: Kind, neighbour: &Neighbour) {
    let mut gate = Gate::new(kind, &HERE, "out");
    for ip in HERE {
        let (kept, late) = (at(ip, 10_001), at(ip, 10_002));
        let soon = Deadline::after(Duration::from_secs(1)).expect("a clock");
        for endpoint in [kept, late] {
            gate.put(Entry { deadline: soon, ..entry(endpoint) });
            drop(neighbour.inside(|| connect(endpoint)));
        }
        gate.open(kept);
        let past = Deadline(soon.0 + gate.lateness_ns());
        wait_for("the deadline", || (Deadline::after(Duration::ZERO).expect("a clock") > past).then_some(()));
        gate.drops(neighbour, late, gate.late());
        drop(neighbour.inside(|| connect(kept)));
        // Renewed after it was late, it is open again.
        gate.open(late);
        drop(neighbour.inside(|| connect(late)));
        gate.put(Entry { deadline: soon, ..entry(late) });
        gate.drops(neighbour, late, gate.late());
        gate.put(Entry { state: DRAINING, ..entry(kept) });
        gate.drops(neighbour, kept, Verdict::Closed);
    }
}

fn a_broker_for_a_network_lets_in_nobody_else(kind: Kind, neighbour: &Neighbour) {
    let mut gate = Gate::new(kind, &HERE, "out");
    for (ip, there, around, elsewhere) in [
        (HERE[0], THERE[0], "10.77.0.0/24", "10.77.0.4/30"),
        (HERE[1], THERE[1], "fd00:77::/64", "fd00:77::4/126"),
    ] {
        let endpoint = at(ip, 10_001);
        let exactly = format!("{there}/{}", if endpoint.is_ipv4() { 32 } else { 128 });
        let put = |gate: &mut Gate, client: &str| {
            let client = Some(client.parse().expect("a network"));
            gate.put(Entry { client, ..entry(endpoint) });
        };
        for client in [around, &exactly] {
            put(&mut gate, client);
            drop(neighbour.inside(|| connect(endpoint)));
            put(&mut gate, elsewhere);
            gate.drops(neighbour, endpoint, Verdict::WrongSource);
        }
        // A network of the other family is one that nobody comes from.
        put(&mut gate, if endpoint.is_ipv4() { "fd00:77::/64" } else { "10.77.0.0/24" });
        gate.drops(neighbour, endpoint, Verdict::WrongSource);
        gate.open(endpoint);
        drop(neighbour.inside(|| connect(endpoint)));
        gate.close(endpoint);
        gate.drops(neighbour, endpoint, Verdict::Closed);
    }
}

/// One an hour, and `at_once` at the beginning: whatever time a test takes, nothing is given back.
fn per_hour(at_once: u64) -> Limit {
    const HOUR_NS: u64 = 3_600_000_000_000;
    Limit { interval_ns: HOUR_NS, ahead_ns: (at_once - 1) * HOUR_NS }
}

fn a_source_has_its_limit(kind: Kind, neighbour: &Neighbour) {
    let limits = Limits { source: per_hour(4), ..Limits::default() };
    let mut gate = Gate::limited(kind, &HERE, "out", limits);
    let others = ["10.77.0.3", "fd00:77::3"];
    neighbour.inside(|| {
        run("ip", &["address", "add", "10.77.0.3/24", "dev", "in"]);
        run("ip", &["address", "add", "fd00:77::3/64", "dev", "in", "nodad"]);
    });
    for ((ip, there), other) in HERE.into_iter().zip(THERE).zip(others) {
        let [here, other] = [there, other].map(|ip| Some(ip.parse::<IpAddr>().expect("an address")));
        let (first, second, strange) = (at(ip, 10_001), at(ip, 10_002), at(ip, 10_003));
        gate.open(first);
        gate.open(second);
        gate.put(Entry { client: Some("192.0.2.0/24".parse().expect("a network")), ..entry(strange) });
        let comes = |source, endpoint| drop(neighbour.inside(|| connect_from(source, endpoint)));
        for _ in 0..2 {
            comes(here, first);
            // What may not come in pays nothing.
            gate.drops_from(neighbour, here, strange, Verdict::WrongSource);
            gate.drops_from(neighbour, here, at(ip, 10_004), Verdict::Closed);
            comes(here, second);
        }
        gate.drops_from(neighbour, here, first, Verdict::RateLimited);
        gate.drops_from(neighbour, here, second, Verdict::RateLimited);
        // Another address is another source, unless it is of the same /64.
        if ip.contains(':') {
            gate.drops_from(neighbour, other, first, Verdict::RateLimited);
        } else {
            comes(other, first);
        }
    }
}

fn a_broker_has_its_limit(kind: Kind, neighbour: &Neighbour) {
    let limits = Limits { broker: per_hour(2), ..Limits::default() };
    let mut gate = Gate::limited(kind, &HERE, "out", limits);
    for ip in HERE {
        let (first, second) = (at(ip, 10_001), at(ip, 10_002));
        gate.open(first);
        gate.open(second);
        for endpoint in [first, first, second] {
            drop(neighbour.inside(|| connect(endpoint)));
        }
        gate.drops(neighbour, first, Verdict::RateLimited);
        drop(neighbour.inside(|| connect(second)));
        // Renewing gives nothing back; the next broker there owes nothing.
        gate.open(first);
        gate.drops(neighbour, first, Verdict::RateLimited);
        gate.put(Entry { generation: 2, ..entry(first) });
        drop(neighbour.inside(|| connect(first)));
    }
}

fn each_broker_is_counted_by_itself(kind: Kind, neighbour: &Neighbour) {
    let limits = Limits { broker: per_hour(2), ..Limits::default() };
    let mut gate = Gate::limited(kind, &HERE, "out", limits);
    for ip in HERE {
        let (busy, other) = (at(ip, 10_001), at(ip, 10_002));
        let nowhere = Some("192.0.2.0/24".parse().expect("a network"));
        gate.put(Entry { generation: 7, ..entry(busy) });
        gate.put(Entry { generation: 8, client: nowhere, ..entry(other) });
        let counts = |gate: &Gate| {
            let id = |endpoint, generation| BrokerId { endpoint, generation };
            let asked = [id(other, 8), id(busy, 7), id(busy, 9)];
            gate.filter.broker_counts(&asked).expect("reads")
        };
        let none = Some(BrokerCounts::default());
        assert!(counts(&gate).iter().all(|counts| counts.is_none_or(|counts| Some(counts) == none)));
        for _ in 0..2 {
            drop(neighbour.inside(|| connect(busy)));
        }
        gate.drops(neighbour, busy, Verdict::RateLimited);
        gate.drops(neighbour, other, Verdict::WrongSource);
        // A client whose first segment is dropped sends it again after a second.
        let expect = |gate: &Gate| {
            let found = counts(gate);
            let (stranger, busy) = (found[0].expect("counted"), found[1].expect("counted"));
            assert_eq!((stranger.open, stranger.rate_limited), (0, 0));
            assert_eq!((busy.open, busy.wrong_source, busy.expired), (2, 0, 0));
            assert!(stranger.wrong_source >= 1 && busy.rate_limited >= 1, "{found:?}");
            assert_eq!(found[2], none, "those of another generation");
        };
        expect(&gate);
        gate.put(Entry { generation: 7, ..entry(busy) });
        expect(&gate);
        // The next one there begins anew.
        gate.close(busy);
        gate.put(Entry { generation: 9, client: nowhere, ..entry(busy) });
        gate.drops(neighbour, busy, Verdict::WrongSource);
        let found = counts(&gate);
        let now = found[2].expect("counted");
        assert_eq!((now.open, now.rate_limited, found[1]), (0, 0, none));
        assert!(now.wrong_source >= 1, "{now:?}");
    }
}

/// Every value of the flags, to a closed port and to an open one.
fn segments_without_ack_and_reset_are_judged_and_no_others(kind: Kind, neighbour: &Neighbour) {
    let mut gate = Gate::new(kind, &HERE, "out");
    for ip in HERE {
        let (open, closed) = (at(ip, 10_001), at(ip, 10_002));
        gate.open(open);
        let before = gate.count();
        neighbour.inside(|| {
            let domain = Domain::for_address(open);
            let raw = Socket::new(domain, Type::RAW, Some(Protocol::TCP)).expect("a raw socket");
            for flags in 0..=u8::MAX {
                for endpoint in [open, closed] {
                    // Where a socket is to be of one kind, its port says nothing.
                    let to = SocketAddr::new(endpoint.ip(), 0);
                    raw.send_to(&segment(endpoint.port(), flags), &to.into()).expect("sends");
                }
            }
        });
        let judged = (0..=u8::MAX).filter(|flags| flags & (ACK | RST) == 0).count() as u64;
        let moved = |verdict| gate.count().get(verdict) - before.get(verdict);
        wait_for("all of them", || {
            (moved(Verdict::Open) == judged
                && moved(Verdict::Closed) == judged
                && moved(Verdict::NotJudged) >= 2 * (256 - judged))
                .then_some(())
        });
        for verdict in [Verdict::Expired, Verdict::WrongSource, Verdict::RateLimited] {
            assert_eq!(moved(verdict), 0, "{}", verdict.name());
        }
    }
}

/// What 10,000 connections to services, and to nobody, of this machine come to.
fn ten_thousand_connections() -> Vec<Result<(), ErrorKind>> {
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

/// On loopback, whose driver has no native XDP: there the generic hook stands in.
fn other_addresses_and_ports_are_untouched(kind: Kind, _: &Neighbour) {
    let kind = if kind == Kind::Ebpf(Hook::Xdp) { Kind::Ebpf(Hook::XdpGeneric) } else { kind };
    let without = ten_thousand_connections();
    let mut gate = Gate::new(kind, &[ADDRESS], "lo");
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
}

fn an_outgoing_connection_from_a_port_of_the_range_works(kind: Kind, neighbour: &Neighbour) {
    let _gate = Gate::new(kind, &HERE, "out");
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
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

fn a_live_session_survives_the_close_of_its_broker(kind: Kind, neighbour: &Neighbour) {
    let mut gate = Gate::new(kind, &HERE, "out");
    for ip in HERE {
        let endpoint = at(ip, 10_001);
        gate.open(endpoint);
        let mut client = neighbour.inside(|| connect(endpoint));
        let (server, _) = gate.accept(endpoint);
        gate.close(endpoint);
        gate.drops(neighbour, endpoint, Verdict::Closed);
        talks(&client, &server);
        // It ends in good order: both see the other's end.
        drop(server);
        assert_eq!(client.read(&mut [0; 1]).expect("an orderly end"), 0);
    }
}

/// What holds without a filter: everything can be asked for and repeated, nothing is counted, and a port is
/// what its listener makes of it.
#[test]
fn without_a_filter_a_port_is_what_its_listener_makes_of_it() {
    let mut none = NoFilter;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = listener.local_addr().expect("an address");
    let id = BrokerId { endpoint, generation: 1 };
    for change in [Change::Open(entry(endpoint)), Change::Close(endpoint), Change::Close(endpoint)] {
        none.apply(&[change]).expect("applies");
        talks(&connect(endpoint), &accept(&listener).0);
    }
    none.replace(&[]).expect("replaces");
    assert_eq!(none.counters().expect("reads"), Counters::default());
    assert_eq!(none.broker_counts(&[id, id]).expect("reads"), [None, None]);
    drop(listener);
    let refused = TcpStream::connect_timeout(&endpoint, PATIENCE).expect_err("nobody listens");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}
