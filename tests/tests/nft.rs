//! What is special about the filter in nftables: its table, who else changes tables, and the daemon behind it.
//! What it judges is in `contract.rs`, as for every mechanism.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;
use portcullis::kernel::filter::nft::{NftFilter, table_name};
use portcullis::kernel::filter::{Change, LEASE};
use portcullis::kernel::nft;
use portcullis_ebpf::verdict::Verdict;
use portcullis_tests::gate::{Gate, Kind, at, connect, entry, plan};
use portcullis_tests::gateway::{ADDRESS, Gateway, program};
use portcullis_tests::namespace::{HERE, Neighbour, in_namespace};
use portcullis_tests::process::{Guarded, run};
use portcullis_tests::require;
use portcullis_tests::target::Target;
use portcullis_tests::websocket::{echoes, open};
use serde_json::{Value, json};

/// Runs `body` in a namespace of its own, if there is nft.
fn with_nft(body: fn()) {
    if require::nft() {
        in_namespace(body);
    }
}

/// The tables of this namespace.
fn tables() -> Vec<String> {
    run("nft", &["list", "tables"]).lines().map(str::to_owned).collect()
}

/// In how many seconds each element of a set will be gone.
fn expiries(table: &str, set: &str) -> Vec<u64> {
    let objects = nft::list(&["set", "inet", table, set]).expect("lists");
    let elements = objects.iter().filter_map(|object| object["set"]["elem"].as_array()).flatten();
    elements.map(|element| element["elem"]["expires"].as_u64().expect("a number")).collect()
}

#[test]
fn the_table_goes_with_its_filter_and_no_other_does() {
    with_nft(|| {
        run("nft", &["add table inet portcullis_other; add table inet foreign"]);
        let before = tables();
        let plan = plan(&HERE, "lo", None);
        let table = table_name(&plan.addresses, &plan.range);
        let filter = NftFilter::new(&plan).expect("the kernel takes it");
        assert_eq!(tables(), [&before[..], &[format!("table inet {table}")]].concat());
        // The doctor looks and leaves nothing.
        NftFilter::rehearse(&plan).expect("the kernel takes it");
        assert_eq!(tables().len(), before.len() + 1);
        drop(filter);
        assert_eq!(tables(), before);
    });
}

#[test]
fn a_new_filter_takes_over_what_a_dead_one_left() {
    with_nft(|| {
        let neighbour = Neighbour::new();
        let endpoint = at(HERE[0], 10_001);
        let mut dead = Gate::new(Kind::Nft, &HERE, "out");
        dead.open(endpoint);
        let _still_listens = std::net::TcpListener::bind(at(HERE[0], 10_002)).expect("binds");
        std::mem::forget(dead);
        let plan = plan(&HERE, "out", None);
        assert_eq!(expiries(&table_name(&plan.addresses, &plan.range), "anyone_v4").len(), 1);
        let gate = Gate::new(Kind::Nft, &HERE, "out");
        gate.drops(&neighbour, endpoint, Verdict::Closed);
        assert_eq!(tables().len(), 1);
    });
}

#[test]
fn a_table_that_others_flushed_comes_back_with_all_that_was_open() {
    with_nft(|| {
        let neighbour = Neighbour::new();
        let mut gate = Gate::new(Kind::Nft, &HERE, "out");
        let (first, second, closed) = (at(HERE[0], 10_001), at(HERE[1], 10_002), at(HERE[0], 10_003));
        gate.open(first);
        for change in [None, Some(Change::Open(entry(second)))] {
            run("nft", &["flush ruleset"]);
            gate.filter.counters().expect_err("there is no table");
            gate.filter.apply(change.as_slice()).expect("mends");
            drop(neighbour.inside(|| connect(first)));
            gate.drops(&neighbour, closed, Verdict::Closed);
        }
        gate.open(second);
        drop(neighbour.inside(|| connect(second)));
        run("nft", &["flush ruleset"]);
        gate.close(second);
        gate.drops(&neighbour, second, Verdict::Closed);
        drop(neighbour.inside(|| connect(first)));
    });
}

/// An element whose time-out is renewed is taken out and put in again, and nobody may see it.
#[test]
fn renewing_leaves_no_gap() {
    with_nft(|| {
        let neighbour = Neighbour::new();
        let mut gate = Gate::new(Kind::Nft, &HERE, "out");
        let (anyone, named) = (at(HERE[0], 10_001), at(HERE[0], 10_002));
        let for_named = || {
            let client = Some("10.77.0.0/24".parse().expect("a network"));
            portcullis::kernel::filter::Entry { client, ..entry(named) }
        };
        gate.open(anyone);
        gate.put(for_named());
        let before = gate.count();
        let done = AtomicBool::new(false);
        let came = std::thread::scope(|scope| {
            let clients = scope.spawn(|| {
                neighbour.inside(|| {
                    let mut came = 0;
                    while !done.load(Ordering::Relaxed) {
                        for endpoint in [anyone, named] {
                            let client = connect(endpoint);
                            // A reset leaves nothing behind, so the listeners' queues never fill.
                            socket2::SockRef::from(&client)
                                .set_linger(Some(std::time::Duration::ZERO))
                                .expect("an option");
                            came += 1;
                        }
                    }
                    came
                })
            });
            for _ in 0..100 {
                let batch = [Change::Open(entry(anyone)), Change::Open(for_named())];
                gate.filter.apply(&batch).expect("renews");
                for endpoint in [anyone, named] {
                    gate.take_all(endpoint);
                }
            }
            done.store(true, Ordering::Relaxed);
            clients.join().expect("clients")
        });
        assert!(came >= 100, "{came} are too few to tell");
        let after = gate.count();
        for verdict in [Verdict::Closed, Verdict::WrongSource] {
            assert_eq!(after.get(verdict), before.get(verdict), "{}", verdict.name());
        }
        // More where a listener's queue was full and the client tried again.
        assert!(after.get(Verdict::Open) - before.get(Verdict::Open) >= came);
    });
}

#[test]
fn an_error_has_the_words_of_nft() {
    with_nft(|| {
        let table = json!({ "delete": { "table": { "family": "inet", "name": "nosuch" } } });
        let error = nft::run("delete what is not there", &[table]).expect_err("fails");
        assert_eq!(error.to_string(), "delete what is not there: no such file or directory");
    });
}

#[test]
fn the_daemon_brings_its_table_and_takes_it_along() {
    with_nft(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let start = || Gateway::start(folder.path(), "nft", &[]);
        let mut gateway = start();
        let table = table_name(&[ADDRESS.parse().expect("an address")], &(10_000..=15_000));
        assert_eq!(tables(), [format!("table inet {table}")]);
        for (name, value) in [("backend", "nft"), ("hook", "-"), ("steering", "ports")] {
            assert_eq!(gateway.ready(name), value, "{name}");
        }
        let about = "portcullis_backend_info{backend=\"nft\",hook=\"-\",steering=\"ports\"}";
        assert_eq!(gateway.metric(about), 1.0);
        let port = Target::new().echo();
        let broker = gateway.open(port);
        echoes(&mut open(&broker).expect("a session"), b"hello");
        assert_eq!(gateway.metric("portcullis_filter_packets_total{verdict=\"open\"}"), 1.0);
        // Killed, it leaves nothing that stays open.
        gateway.end(Signal::SIGKILL);
        let left = expiries(&table, "anyone_v4");
        assert!(left.len() == 1 && left[0] <= LEASE.as_secs(), "{left:?}");
        let mut next = start();
        assert_eq!(tables(), [format!("table inet {table}")]);
        echoes(&mut open(&broker).expect("comes back"), b"after");
        // Nor does it stay in the way of a daemon that has another filter, or none.
        next.end(Signal::SIGKILL);
        assert_eq!(tables().len(), 1);
        drop(Gateway::start(folder.path(), "none", &[]));
        assert!(tables().is_empty());
        assert!(start().stop().success());
        assert!(tables().is_empty());
    });
}

/// The same command without what eBPF needs.
fn without_bpf(command: Command, _: &Path) -> Command {
    let mut wrapped = Command::new("setpriv");
    wrapped.args(["--bounding-set=-bpf,-sys_admin,-perfmon", "--inh-caps=-bpf,-sys_admin,-perfmon"]);
    wrapped.arg(command.get_program()).args(command.get_args());
    wrapped
}

#[test]
fn without_bpf_it_takes_nftables_and_says_so() {
    with_nft(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let demanded = Gateway::command(folder.path(), &[ADDRESS], "ebpf", &[]);
        let mut refused = Guarded::start(&mut without_bpf(demanded, folder.path()));
        assert_eq!(refused.ended().code(), Some(1));
        let gateway = Gateway::start_by(folder.path(), &[ADDRESS], "auto", &[], without_bpf);
        assert_eq!((gateway.ready("backend"), gateway.ready("steering")), ("nft".into(), "ports".into()));
        assert!(gateway.log().contains("no filter in eBPF: nftables is tried"), "{}", gateway.log());
        assert!(!gateway.log().contains("plain listeners"), "{}", gateway.log());
        let about = "portcullis_backend_info{backend=\"nft\",hook=\"-\",steering=\"ports\"}";
        assert_eq!(gateway.metric(about), 1.0);
        echoes(&mut open(&gateway.open(Target::new().echo())).expect("a session"), b"hello");
        let config = folder.path().join("portcullis.toml");
        let mut doctor = Command::new(program());
        doctor.arg("doctor").arg("--json").arg("--config").arg(config);
        let said = without_bpf(doctor, folder.path()).output().expect("runs");
        assert_eq!(said.status.code(), Some(1), "it could do better");
        let report: Value = serde_json::from_slice(&said.stdout).expect("JSON");
        assert_eq!((&report["backend"], &report["steering"]), (&"nft".into(), &"ports".into()), "{report:#}");
        let filters = report["checks"].as_array().expect("a list").iter();
        let states: Vec<_> =
            filters.filter(|check| check["name"] == "filter").map(|check| &check["state"]).collect();
        assert_eq!(states, ["degraded", "ok"], "{report:#}");
    });
}

fn rules() -> String {
    run("nft", &["--stateless", "list", "ruleset"])
}

/// One firewall as nft's users write them, one as iptables does. What one accepts, the other may drop.
#[test]
fn a_firewall_that_drops_by_default_is_opened_for_the_range_if_told_so() {
    if !(require::kernel() && require::nft() && require::file("/usr/sbin/iptables-nft", "iptables")) {
        return;
    }
    in_namespace(|| {
        let neighbour = Neighbour::new();
        run(
            "nft",
            &["add table inet fw; add chain inet fw in { type filter hook input priority 5; policy drop; }"],
        );
        // The tests themselves, and the search for neighbours of IPv6.
        run(
            "nft",
            &["add rule inet fw in iifname lo accept; add rule inet fw in meta l4proto ipv6-icmp accept"],
        );
        run("iptables-nft", &["-P", "INPUT", "DROP"]);
        run("iptables-nft", &["-A", "INPUT", "-i", "lo", "-j", "ACCEPT"]);
        let before = rules();
        let folder = tempfile::tempdir().expect("a folder");
        let start = |backend: &str, opened: bool| {
            let more = format!("filter.open_host_firewall = {opened}");
            Gateway::start_by(folder.path(), &HERE, backend, &[&more], |command, _| command)
        };
        let finding = || {
            let config = folder.path().join("portcullis.toml");
            let said = Command::new(program()).args(["doctor", "--json", "--config"]).arg(config).output();
            let report: Value = serde_json::from_slice(&said.expect("runs").stdout).expect("JSON");
            let checks = report["checks"].as_array().expect("a list");
            checks.iter().find(|check| check["name"] == "firewall").expect("a check").clone()
        };
        assert!(start("ebpf", false).stop().success());
        assert_eq!(rules(), before, "it was not told to");
        let found = finding();
        let remedy = found["remedy"].as_str().expect("a remedy");
        let rule = "nft insert rule inet fw in ip daddr 10.77.0.1 tcp dport 10000-15000 accept";
        assert!(found["state"] == "degraded" && remedy.contains(rule), "{found}");
        for backend in ["ebpf", "nft"] {
            let mut gateway = start(backend, true);
            assert_eq!(finding()["state"], "ok");
            for _ in HERE {
                let broker = gateway.open(Target::new().echo());
                neighbour.inside(|| echoes(&mut open(&broker).expect("a session"), b"hello"));
            }
            let opened = rules();
            assert_eq!(opened.matches("tcp dport 10000-15000 accept comment").count(), 3, "{opened}");
            let shown = run("iptables-nft-save", &[]);
            assert!(shown.contains("-A INPUT -d 10.77.0.1/32 -p tcp -m tcp --dport 10000:15000"), "{shown}");
            // What a dead daemon left is not added to, and not forgotten.
            gateway.end(Signal::SIGKILL);
            let next = start(backend, true);
            assert_eq!(rules().matches("tcp dport 10000-15000 accept comment").count(), 3);
            assert!(next.stop().success());
            assert_eq!(rules(), before);
        }
    });
}
