//! Broker addresses on an interface: put there, announced, held, taken off. After each step metrics and doctor
//! are compared with what `ip address` shows.

use std::fs::File;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use portcullis_tests::gateway::{Gateway, program};
use portcullis_tests::namespace::{HERE, Neighbour, add_address, in_namespace};
use portcullis_tests::process::{Guarded, run};
use portcullis_tests::target::Target;
use portcullis_tests::wiretap::Wiretap;
use portcullis_tests::{require, wait_for};
use serde_json::Value;

/// Of the neighbour's networks, and nobody's yet.
const WANTED: [&str; 2] = ["10.77.0.9", "fd00:77::9"];
const HOLD: &str = "address_interface = \"out\"";

/// Runs `body` in a namespace that has a neighbour.
fn beside_a_neighbour(body: impl FnOnce(&Neighbour) + Send) {
    if require::root() {
        in_namespace(|| body(&Neighbour::new()));
    }
}

/// A gateway without a filter, in a folder of its own.
struct Subject {
    folder: tempfile::TempDir,
    gateway: Gateway,
}

impl Subject {
    fn start(addresses: &[&str], more: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), addresses, more)
    }

    fn start_in(folder: tempfile::TempDir, addresses: &[&str], more: &[&str]) -> Self {
        let gateway = Gateway::start_by(folder.path(), addresses, "none", more, |command, _| command);
        Self { folder, gateway }
    }

    fn changes(&self, change: &str) -> f64 {
        self.gateway.metric(&format!("portcullis_address_changes_total{{change={change:?}}}"))
    }

    fn wait_changes(&self, change: &str, count: f64) {
        self.gateway.wait_metric(&format!("portcullis_address_changes_total{{change={change:?}}}"), count);
    }

    /// Metrics and doctor say of `addresses` what `ip` says, and that is `expected`.
    fn all_agree(&self, addresses: &[&str], expected: Option<&str>) {
        for address in addresses {
            assert_eq!(carrier(address).as_deref(), expected, "{address}");
        }
        let count =
            |state: &str| self.gateway.metric(&format!("portcullis_broker_addresses{{state={state:?}}}"));
        let all = addresses.len() as f64;
        let counts = if expected.is_some() { (all, 0.0) } else { (0.0, all) };
        assert_eq!((count("present"), count("missing")), counts);
        let found = doctor(self.folder.path());
        let seen = found["seen"].as_str().expect("text").split("; ").collect::<Vec<_>>();
        for (address, seen) in addresses.iter().zip(seen) {
            let says = expected.map_or_else(
                || format!("{address} would be put on out"),
                |name| format!("{address} on {name}"),
            );
            assert!(seen.starts_with(&says), "{seen} is not {says}");
        }
    }
}

/// The interface that has `address`, as `ip` tells.
fn carrier(address: &str) -> Option<String> {
    let links: Value = serde_json::from_str(&run("ip", &["-j", "address"])).expect("JSON");
    let has = |link: &&Value| {
        link["addr_info"].as_array().is_some_and(|all| all.iter().any(|one| one["local"] == address))
    };
    let link = links.as_array().expect("a list").iter().find(has)?;
    Some(link["ifname"].as_str().expect("a name").to_owned())
}

fn doctor_of(folder: &Path) -> Command {
    let mut command = Command::new(program());
    command.args(["doctor", "--json", "--config"]).arg(folder.join("portcullis.toml"));
    command
}

/// All that a doctor finds.
fn findings(command: &mut Command) -> Value {
    serde_json::from_slice(&command.output().expect("runs").stdout).expect("JSON")
}

/// What it finds of the addresses.
fn address_check(command: &mut Command) -> Value {
    let report = findings(command);
    let mut checks = report["checks"].as_array().expect("a list").iter();
    checks.find(|check| check["name"] == "addresses").expect("a check").clone()
}

fn doctor(folder: &Path) -> Value {
    address_check(&mut doctor_of(folder))
}

/// The log of a gateway that does not start, which is also seen to leave nothing of [`WANTED`] here.
fn refused(addresses: &[&str], more: &[&str]) -> String {
    refused_by(addresses, more, |command| command)
}

/// The same by a command that `wrap` makes of the usual one.
fn refused_by(addresses: &[&str], more: &[&str], wrap: impl FnOnce(Command) -> Command) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let mut command = wrap(Gateway::command(folder.path(), addresses, "none", more));
    command.stderr(File::create(&log).expect("a log"));
    let code = Guarded::start(&mut command).ended().code();
    let log = std::fs::read_to_string(log).expect("text");
    assert_eq!(code, Some(1), "{log}");
    for address in WANTED {
        assert_eq!(carrier(address), None, "{log}");
    }
    log
}

/// The Ethernet address of an interface in this namespace.
fn mac(link: &str) -> String {
    let links: Value = serde_json::from_str(&run("ip", &["-j", "link", "show", link])).expect("JSON");
    links[0]["address"].as_str().expect("text").to_owned()
}

/// What the neighbour believes who has `address`.
fn believed(neighbour: &Neighbour, address: &str) -> Option<String> {
    let known = neighbour.inside(|| run("ip", &["-j", "neigh", "show", address]));
    let known: Value = serde_json::from_str(&known).expect("JSON");
    known[0]["lladdr"].as_str().map(str::to_owned)
}

fn ip(address: &str) -> IpAddr {
    address.parse().expect("an address")
}

#[test]
fn addresses_are_put_there_and_announced_and_taken_off() {
    beside_a_neighbour(|neighbour| {
        // Before, somebody else had them, and the neighbour still thinks so.
        for address in WANTED {
            let stale =
                ["neigh", "replace", address, "lladdr", "02:00:00:00:00:99", "nud", "stale", "dev", "in"];
            neighbour.inside(|| run("ip", &stale));
        }
        let taps = WANTED.map(|_| Wiretap::at(neighbour));
        let subject = Subject::start(&WANTED, &[HOLD]);
        subject.all_agree(&WANTED, Some("out"));
        for (change, count) in [("added", 2.0), ("adopted", 0.0), ("conflict", 0.0), ("unannounced", 0.0)] {
            assert_eq!(subject.changes(change), count, "{change}");
        }
        for (address, tap) in WANTED.into_iter().zip(taps) {
            tap.announced(ip(address));
            wait_for("the neighbour to believe it", || {
                (believed(neighbour, address) == Some(mac("out"))).then_some(())
            });
            tap.announced(ip(address));
        }
        let broker = subject.gateway.open(Target::new().echo());
        assert!(WANTED.map(ip).contains(&broker.endpoint.ip()), "{}", broker.answer);
        neighbour.inside(|| TcpStream::connect(broker.endpoint).expect("it is reached"));
        let Subject { folder, gateway } = subject;
        assert_eq!(gateway.stop().code(), Some(0));
        assert_eq!(WANTED.map(carrier), [None, None]);
        let found = doctor(folder.path());
        assert_eq!(
            (&found["state"], found["seen"].as_str()),
            (&Value::from("ok"), Some("10.77.0.9 would be put on out; fd00:77::9 would be put on out"),)
        );
    });
}

#[test]
fn the_filter_goes_where_they_are_put() {
    if !require::kernel() {
        return;
    }
    beside_a_neighbour(|neighbour| {
        let folder = tempfile::tempdir().expect("a folder");
        drop(Gateway::command(folder.path(), &WANTED, "ebpf", &[HOLD]));
        let found = findings(&mut doctor_of(folder.path()));
        assert_eq!(
            (&found["backend"], &found["hook"]),
            (&Value::from("ebpf"), &Value::from("tc")),
            "{found:#}"
        );
        let gateway = Gateway::start_by(folder.path(), &WANTED, "ebpf", &[HOLD], |command, _| command);
        let subject = Subject { folder, gateway };
        subject.all_agree(&WANTED, Some("out"));
        assert_eq!(subject.gateway.ready("hook"), "tc");
        let broker = subject.gateway.open(Target::new().echo());
        neighbour.inside(|| TcpStream::connect(broker.endpoint).expect("it is let in"));
        let seen = subject.gateway.metric("portcullis_filter_packets_total{verdict=\"open\"}");
        assert!(seen > 0.0, "the filter is elsewhere");
    });
}

#[test]
fn what_a_killed_daemon_left_is_known_for_ours() {
    beside_a_neighbour(|_| {
        let mut subject = Subject::start(&WANTED, &[HOLD]);
        subject.gateway.end(Signal::SIGKILL);
        assert_eq!(WANTED.map(carrier), [Some("out".into()), Some("out".into())]);
        let subject = Subject::start_in(subject.folder, &WANTED, &[HOLD]);
        subject.all_agree(&WANTED, Some("out"));
        assert_eq!((subject.changes("added"), subject.changes("adopted")), (0.0, 2.0));
        assert_eq!(subject.gateway.stop().code(), Some(0));
        assert_eq!(WANTED.map(carrier), [None, None]);
    });
}

#[test]
fn what_is_not_of_this_configuration_is_left_and_told() {
    beside_a_neighbour(|_| {
        let mut subject = Subject::start(&WANTED, &[HOLD]);
        subject.gateway.end(Signal::SIGKILL);
        // It may be another daemon's, which lives.
        let subject = Subject::start_in(subject.folder, &WANTED[..1], &[HOLD]);
        let log = subject.gateway.log();
        assert!(log.contains("not ours to take off address=fd00:77::9"), "{log}");
        assert_eq!(subject.gateway.stop().code(), Some(0));
        assert_eq!(WANTED.map(carrier), [None, Some("out".into())]);
    });
}

#[test]
fn what_somebody_put_there_meanwhile_stays() {
    beside_a_neighbour(|_| {
        let subject = Subject::start(&WANTED[..1], &[HOLD]);
        run("ip", &["address", "del", "10.77.0.9/32", "dev", "out"]);
        add_address("out", WANTED[0], "24");
        subject.all_agree(&WANTED[..1], Some("out"));
        assert_eq!(subject.gateway.stop().code(), Some(0));
        assert_eq!(carrier(WANTED[0]), Some("out".into()));
    });
}

#[test]
fn what_was_left_on_another_interface_moves() {
    beside_a_neighbour(|_| {
        let mut subject = Subject::start(&WANTED, &["address_interface = \"lo\""]);
        subject.all_agree(&WANTED, Some("lo"));
        subject.gateway.end(Signal::SIGKILL);
        let subject = Subject::start_in(subject.folder, &WANTED, &[HOLD]);
        subject.all_agree(&WANTED, Some("out"));
        assert_eq!((subject.changes("withdrawn"), subject.changes("added")), (2.0, 2.0));
    });
}

#[test]
fn what_was_there_before_stays() {
    beside_a_neighbour(|_| {
        let addresses = [HERE[0], HERE[1]];
        let subject = Subject::start(&addresses, &[HOLD]);
        subject.all_agree(&addresses, Some("out"));
        assert_eq!((subject.changes("added"), subject.changes("adopted")), (0.0, 0.0));
        // Nor is it put back by somebody who never put it there.
        run("ip", &["address", "del", "10.77.0.1/24", "dev", "out"]);
        assert_eq!(subject.gateway.metric("portcullis_broker_addresses{state=\"missing\"}"), 1.0);
        add_address("out", HERE[0], "24");
        subject.all_agree(&addresses, Some("out"));
        assert_eq!(subject.changes("restored"), 0.0);
        assert_eq!(subject.gateway.stop().code(), Some(0));
        assert_eq!(addresses.map(carrier), [Some("out".into()), Some("out".into())]);
    });
}

#[test]
fn on_loopback_nothing_is_to_be_put() {
    beside_a_neighbour(|_| {
        let folder = tempfile::tempdir().expect("a folder");
        let gateway = Gateway::start(folder.path(), "none", &["address_interface = \"lo\""]);
        assert_eq!(gateway.metric("portcullis_broker_addresses{state=\"present\"}"), 1.0);
        assert_eq!(gateway.metric("portcullis_address_changes_total{change=\"added\"}"), 0.0);
        assert_eq!(doctor(folder.path())["seen"], "127.0.80.1 on lo");
        assert_eq!(carrier("127.0.80.1"), None, "its network is there, and that is enough");
        assert_eq!(gateway.stop().code(), Some(0));
    });
}

#[test]
fn an_address_that_is_taken_away_is_put_back() {
    beside_a_neighbour(|neighbour| {
        let subject = Subject::start(&WANTED, &[HOLD]);
        for (times, (address, length)) in WANTED.into_iter().zip(["32", "128"]).enumerate() {
            let tap = Wiretap::at(neighbour);
            run("ip", &["address", "del", &format!("{address}/{length}"), "dev", "out"]);
            subject.wait_changes("restored", times as f64 + 1.0);
            tap.announced(ip(address));
            subject.all_agree(&WANTED, Some("out"));
        }
        // Down, the interface loses its IPv6 addresses.
        run("ip", &["link", "set", "out", "down"]);
        assert_eq!(carrier(WANTED[1]), None);
        let tap = Wiretap::at(neighbour);
        run("ip", &["link", "set", "out", "up"]);
        subject.wait_changes("restored", 3.0);
        subject.all_agree(&WANTED, Some("out"));
        tap.announced(ip(WANTED[0]));
        assert_eq!(subject.gateway.stop().code(), Some(0));
        assert_eq!(WANTED.map(carrier), [None, None]);
    });
}

#[test]
fn an_interface_that_is_made_anew_gets_its_addresses() {
    beside_a_neighbour(|neighbour| {
        let subject = Subject::start(&WANTED, &[HOLD]);
        run("ip", &["link", "del", "out"]);
        assert_eq!(WANTED.map(carrier), [None, None]);
        subject.gateway.wait_metric("portcullis_broker_addresses{state=\"missing\"}", 2.0);
        let found = doctor(subject.folder.path());
        assert_eq!(found["state"], "missing");
        assert_eq!(found["seen"], "address_interface = \"out\": there is no such interface");
        let tap = Wiretap::at(neighbour);
        neighbour.join();
        subject.wait_changes("restored", 2.0);
        tap.announced(ip(WANTED[0]));
        subject.all_agree(&WANTED, Some("out"));
        assert_eq!(subject.gateway.stop().code(), Some(0));
        assert_eq!(WANTED.map(carrier), [None, None]);
    });
}

#[test]
fn an_address_of_the_neighbour_is_not_taken() {
    beside_a_neighbour(|neighbour| {
        neighbour.inside(|| add_address("in", WANTED[0], "24"));
        let holder = neighbour.inside(|| mac("in"));
        let log = refused(&WANTED, &[HOLD]);
        let said = format!("10.77.0.9 is held by {holder} on out, and was not taken");
        assert!(log.contains(&said), "{log}");
        neighbour.inside(|| run("ip", &["address", "del", "10.77.0.9/24", "dev", "in"]));
        neighbour.inside(|| add_address("in", WANTED[1], "64"));
        let log = refused(&WANTED, &[HOLD]);
        assert!(log.contains("fd00:77::9 is held by another node on out, and was not taken"), "{log}");
        neighbour.inside(|| run("ip", &["address", "del", "fd00:77::9/64", "dev", "in"]));
        Subject::start(&WANTED, &[HOLD]).all_agree(&WANTED, Some("out"));
    });
}

#[test]
fn an_address_that_the_neighbour_takes_meanwhile_is_left_to_it_and_comes_back() {
    beside_a_neighbour(|neighbour| {
        let subject = Subject::start(&WANTED[..1], &[HOLD]);
        neighbour.inside(|| add_address("in", WANTED[0], "24"));
        run("ip", &["address", "del", "10.77.0.9/32", "dev", "out"]);
        subject.wait_changes("conflict", 2.0);
        subject.all_agree(&WANTED[..1], None);
        assert_eq!(subject.changes("restored"), 0.0);
        neighbour.inside(|| run("ip", &["address", "del", "10.77.0.9/24", "dev", "in"]));
        subject.wait_changes("restored", 1.0);
        subject.all_agree(&WANTED[..1], Some("out"));
    });
}

#[test]
fn a_start_that_fails_later_takes_off_what_it_added() {
    beside_a_neighbour(|_| {
        let taken = TcpListener::bind("127.0.0.1:0").expect("listens");
        let listen = taken.local_addr().expect("an address").to_string();
        let log = refused_by(&WANTED, &[HOLD], |mut command| {
            command.env("PORTCULLIS_API_LISTEN", &listen);
            command
        });
        assert!(log.contains("broker address added") && log.contains("ddress already in use"), "{log}");
    });
}

#[test]
fn an_interface_that_cannot_take_them_is_named() {
    beside_a_neighbour(|_| {
        let log = refused(&WANTED, &["address_interface = \"no-such-one\""]);
        assert!(log.contains("address_interface = \"no-such-one\": there is no such interface"), "{log}");
        run("ip", &["link", "set", "out", "down"]);
        let log = refused(&WANTED, &[HOLD]);
        assert!(log.contains("interface out is down or has no carrier"), "{log}");
    });
}

/// The same command without the capability.
fn without(capability: &str, command: &Command) -> Command {
    let mut wrapped = Command::new("setpriv");
    wrapped.args([format!("--bounding-set=-{capability}"), format!("--inh-caps=-{capability}")]);
    wrapped.arg(command.get_program()).args(command.get_args());
    wrapped
}

#[test]
fn without_the_right_to_send_frames_they_are_there_unannounced() {
    beside_a_neighbour(|_| {
        let folder = tempfile::tempdir().expect("a folder");
        drop(Gateway::command(folder.path(), &WANTED, "none", &[HOLD]));
        let found = address_check(&mut without("net_raw", &doctor_of(folder.path())));
        assert_eq!(found["state"], "degraded", "{found}");
        assert!(found["remedy"].as_str().is_some_and(|text| text.contains("CAP_NET_RAW")), "{found}");
        let wrap = |command: Command, _: &Path| without("net_raw", &command);
        let gateway = Gateway::start_by(folder.path(), &WANTED, "none", &[HOLD], wrap);
        let subject = Subject { folder, gateway };
        subject.all_agree(&WANTED, Some("out"));
        assert_eq!((subject.changes("added"), subject.changes("unannounced") >= 2.0), (2.0, true));
        assert!(subject.gateway.log().contains("this needs CAP_NET_RAW"), "{}", subject.gateway.log());
    });
}

#[test]
fn who_may_not_put_them_there_is_told() {
    beside_a_neighbour(|_| {
        let folder = tempfile::tempdir().expect("a folder");
        drop(Gateway::command(folder.path(), &WANTED, "none", &[HOLD]));
        let found = address_check(&mut without("net_admin", &doctor_of(folder.path())));
        assert_eq!(found["state"], "missing", "{found}");
        let log = refused_by(&WANTED, &[HOLD], |command| without("net_admin", &command));
        assert!(log.contains("put 10.77.0.9 on out: Operation not permitted"), "{log}");
    });
}

#[test]
fn somebody_who_insists_is_met_ever_more_slowly() {
    beside_a_neighbour(|_| {
        // On loopback nobody is asked, so that the pauses are all there is to wait for.
        let subject = Subject::start(&WANTED[..1], &["address_interface = \"lo\""]);
        let began = Instant::now();
        for times in 1..=5 {
            run("ip", &["address", "del", "10.77.0.9/32", "dev", "lo"]);
            subject.wait_changes("restored", f64::from(times));
        }
        let pauses = Duration::from_millis(250 + 500 + 1000 + 2000);
        assert!(began.elapsed() >= pauses, "{:?}", began.elapsed());
        subject.all_agree(&WANTED[..1], Some("lo"));
    });
}
