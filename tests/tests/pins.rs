//! Filter and steering that outlive a process: loaded once, used by a daemon without privileges, replaced in
//! place, and cleaned away.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aya::maps::{HashMap, MapData};
use aya::programs::{SchedClassifier, TcAttachType};
use nix::sys::signal::Signal;
use portcullis::kernel::filter::{Deadline, LEASE};
use portcullis_ebpf::layout::{BROKERS, BrokerKey, BrokerKeyWords, Slot, SlotWords};
use portcullis_tests::gateway::{Gateway, program};
use portcullis_tests::namespace::{HERE, Neighbour, in_namespace};
use portcullis_tests::pins::{NOBODY, Scene, fails};
use portcullis_tests::process::run;
use portcullis_tests::target::Target;
use portcullis_tests::websocket::{echoes, open};
use portcullis_tests::{require, wait_for};
use socket2::{Domain, Socket, Type};

fn status(gateway: &Gateway, key: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.id())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("a line");
    line.trim_start_matches(':').trim().to_owned()
}

/// The slot of the broker at `endpoint`.
fn slot(scene: &Scene, endpoint: SocketAddr) -> Option<Slot> {
    let map = MapData::from_pin(scene.version().join(BROKERS)).expect("the pin");
    let map: HashMap<MapData, BrokerKeyWords, SlotWords> =
        aya::maps::Map::from_map_data(map).expect("a map").try_into().expect("its kind");
    map.get(&BrokerKey::new(endpoint).to_words(), 0).ok().map(Slot::from_words)
}

/// Waits until so many filters are attached to `lo`: the kernel detaches some time after the last pin is gone.
fn wait_attached(count: usize) {
    let attached = || SchedClassifier::query_tcx("lo", TcAttachType::Ingress).expect("answers").1.len();
    wait_for(&format!("{count} filters on lo"), || (attached() == count).then_some(()));
}

#[test]
fn a_daemon_without_capabilities_opens_serves_and_closes() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let scene = Scene::new(&[]);
        scene.load();
        let target = Target::new().echo();
        let gateway = scene.serve(&[]);
        for key in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(status(&gateway, key), "0000000000000000", "{key}");
        }
        assert_eq!((gateway.ready("backend"), gateway.ready("hook")), ("ebpf".into(), "tc".into()));
        assert_eq!(gateway.ready("steering"), "sk_lookup");
        let broker = gateway.open(target);
        let mut session = open(&broker).expect("a session");
        echoes(&mut session, b"hello");
        assert!(gateway.metric("portcullis_filter_packets_total{verdict=\"open\"}") >= 1.0);
        assert_eq!(scene.show()["versions"][0]["daemon"], gateway.id());

        // Killed, it leaves the port open no longer than its lease, and the filter in force.
        let mut gateway = gateway;
        gateway.end(Signal::SIGKILL);
        let left = slot(&scene, broker.endpoint).expect("the slot outlives the daemon");
        assert!(left.deadline_ns <= Deadline::after(LEASE).expect("a clock").0);
        wait_attached(1);

        // The next one goes on with what is valid, and closes it in good order.
        let gateway = scene.serve(&[]);
        let path = format!("/v1/brokers/{}", broker.id);
        assert_eq!(gateway.api().get(&path).0, 200);
        assert!(slot(&scene, broker.endpoint).expect("open").generation != left.generation);
        assert_eq!(gateway.api().delete(&path).0, 204);
        assert_eq!(slot(&scene, broker.endpoint), None);
        assert!(gateway.stop().success());
        wait_attached(1);
        assert!(scene.kernel("clean", &[]).status.success());
        wait_attached(0);
        assert!(!scene.pins().exists());
    });
}

#[test]
fn whoever_may_open_brokers_may_not_touch_the_filter() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let scene = Scene::new(&[]);
        scene.load();
        let version = scene.version();
        for name in ["tc-1", "steer", "ADDRESSES", "BOUNDS"] {
            let mode = fs::metadata(version.join(name)).expect("a pin").permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{name}");
        }
        let nobody = |arguments: &[&str]| {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set=-all"]);
            command.args(arguments).output().expect("runs").status.success()
        };
        let named = |name: &str| version.join(name).to_str().expect("a path").to_owned();
        assert!(nobody(&["ls", &named("")]), "it may look");
        for name in ["tc-1", "steer", "BROKERS"] {
            assert!(!nobody(&["rm", &named(name)]), "{name} was removed");
        }
        assert!(!nobody(&["touch", &named("other")]));
        wait_attached(1);
    });
}

/// Tries closed ports all the time, from over there, until it is told to end. Returns how often one answered.
fn probe(neighbour: &Neighbour, end: &AtomicBool, tries: &AtomicU64) -> u64 {
    neighbour.inside(|| {
        let mut answers = 0;
        for port in (10_100..15_000).cycle() {
            if end.load(Ordering::Relaxed) {
                break;
            }
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket.set_nonblocking(true).expect("an option");
            let endpoint = SocketAddr::new(HERE[0].parse().expect("an address"), port);
            // "In progress" is what is wanted; an answer shows in the error that the socket has then.
            let _ = socket.connect(&endpoint.into());
            // On a veth pair an answer is there when the call returns, or at the latest in a moment.
            std::thread::yield_now();
            answers += u64::from(socket.take_error().expect("an option").is_some());
            tries.fetch_add(1, Ordering::Relaxed);
        }
        answers
    })
}

fn reloads_let_nothing_through(hook: &str) {
    in_namespace(|| {
        let neighbour = Neighbour::new();
        let more = [format!("filter.hook = {hook:?}")];
        let more: Vec<_> = more.iter().map(String::as_str).collect();
        let scene = Scene::on(&[HERE[0]], &more);
        let (end, tries) = (AtomicBool::new(false), AtomicU64::new(0));
        // Without a filter closed ports answer, and the probe sees it.
        std::thread::scope(|threads| {
            let probing = threads.spawn(|| probe(&neighbour, &end, &tries));
            wait_for("probes", || (tries.load(Ordering::Relaxed) > 200).then_some(()));
            end.store(true, Ordering::Relaxed);
            assert!(probing.join().expect("probes") > 100);
        });

        scene.load();
        end.store(false, Ordering::Relaxed);
        std::thread::scope(|threads| {
            let probing = threads.spawn(|| probe(&neighbour, &end, &tries));
            for round in 0..6 {
                let before = tries.load(Ordering::Relaxed);
                // Maps of another range cannot be used on: then all of it is made anew beside what is there.
                let size = format!("range.last = {}", 15_000 + round / 2);
                scene.configure(&[more[0], &size]);
                scene.load();
                wait_for("more probes", || (tries.load(Ordering::Relaxed) > before + 200).then_some(()));
            }
            end.store(true, Ordering::Relaxed);
            assert_eq!(probing.join().expect("probes"), 0, "closed ports that answered");
        });
        let names: Vec<_> = fs::read_dir(scene.pins()).expect("the folder").flatten().collect();
        assert_eq!(names.len(), 1, "{names:?}");
        let version = &scene.show()["versions"][0];
        assert_eq!(version["interfaces"][0]["hook"], hook);
        assert_eq!(version["interfaces"].as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn reloads_let_nothing_through_at_tc() {
    if require::kernel() {
        reloads_let_nothing_through("tc");
    }
}

#[test]
fn reloads_let_nothing_through_at_xdp() {
    if require::kernel() {
        reloads_let_nothing_through("xdp");
    }
}

#[test]
fn reloads_let_nothing_through_at_generic_xdp() {
    if require::kernel() {
        reloads_let_nothing_through("xdp-generic");
    }
}

#[test]
fn a_reload_disturbs_no_daemon_and_new_maps_keep_its_brokers() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let scene = Scene::new(&[]);
        scene.load();
        let target = Target::new().echo();
        let gateway = scene.serve(&[]);
        let broker = gateway.open(target);
        let mut session = open(&broker).expect("a session");
        scene.configure(&[]);
        assert!(scene.load().contains("filter replaced: lo (tc)"));
        echoes(&mut session, b"hello");
        let other = gateway.open(target);
        echoes(&mut open(&other).expect("a session after the reload"), b"hello");
        let before = slot(&scene, broker.endpoint).expect("open");

        scene.configure(&["range.last = 15001"]);
        let said = scene.load();
        assert!(said.contains("2 open brokers moved to new maps: start the daemon again"), "{said}");
        assert_eq!(slot(&scene, broker.endpoint).expect("still open").generation, before.generation);
        assert!(gateway.stop().success());
        let gateway = scene.serve(&["range.last = 15001"]);
        assert_eq!(gateway.api().get(&format!("/v1/brokers/{}", broker.id)).0, 200);
        assert_eq!(scene.show()["versions"][0]["complete"], true);
        wait_attached(1);
    });
}

#[test]
fn pins_that_do_not_fit_are_refused_and_say_what_to_do() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let scene = Scene::new(&[]);
        scene.load();
        let refused = |more: &[&str], expected: &str| {
            for backend in ["ebpf", "auto"] {
                let said = scene.serve_fails(backend, more);
                assert!(said.contains(expected), "{said}");
            }
        };
        refused(&["range.last = 15001"], "they were loaded for other addresses or another range");
        for backend in ["none", "nft"] {
            let said = scene.serve_fails(backend, &[]);
            assert!(said.contains("a filter is pinned in"), "{said}");
        }
        let gateway = scene.serve(&[]);
        refused(&["api.listen = \"127.0.0.1:0\"", "stop_grace_s = 1"][1..], "another daemon uses");
        assert!(fails(scene.kernel("clean", &[])).contains("a daemon uses these pins: stop it first"));
        assert!(gateway.stop().success());
        in_namespace(|| {
            refused(&[], "they are of another network namespace");
        });

        fs::remove_file(scene.version().join("FACTS")).expect("removes it");
        refused(&[], "loading was not finished: run `portcullis kernel load` again");
        fs::rename(scene.version(), scene.pins().join("v1")).expect("renames it");
        refused(&[], "there are none of this version, but v1: run `portcullis kernel load`");
        // What a dead version left goes with the next load.
        scene.load();
        wait_attached(1);
        let versions = scene.show()["versions"].as_array().map(Vec::len);
        assert_eq!(versions, Some(1));
    });
}

#[test]
fn a_loader_that_cannot_says_why_and_leaves_nothing() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let scene = Scene::new(&[]);
        let none = || assert!(!scene.pins().exists(), "something was left behind");

        // A bpffs is missing.
        let elsewhere = format!("filter.pins = {:?}", scene.folder().join("state/portcullis"));
        let config = scene.folder().join("portcullis.toml");
        let text = fs::read_to_string(&config).expect("reads");
        let without_pins = text.lines().filter(|line| !line.starts_with("filter.pins"));
        let text_elsewhere = without_pins.chain([elsewhere.as_str()]).collect::<Vec<_>>().join("\n");
        fs::write(&config, text_elsewhere).expect("writes");
        assert!(scene.load_fails().contains("there is no bpffs: mount -t bpf bpf"));
        assert!(!scene.folder().join("state/portcullis").exists());
        fs::write(&config, text).expect("writes");

        // Privileges are missing.
        let mut weak = Command::new("setpriv");
        weak.args(["--bounding-set=-bpf,-sys_admin", program().to_str().expect("a path")]);
        weak.args(scene.kernel_command("load", &[]).get_args());
        let said = fails(weak.output().expect("runs"));
        assert!(said.contains("peration not permitted"), "{said}");
        none();

        // An interface, or a group, is missing.
        scene.configure(&["interfaces = [\"nosuch0\"]"]);
        assert!(scene.load_fails().contains("there is no interface nosuch0"));
        scene.configure(&[]);
        let said = fails(scene.kernel("load", &["--group", "nosuchgroup"]));
        assert!(said.contains("there is no group nosuchgroup"), "{said}");
        none();

        // Somebody else made the folder.
        fs::create_dir(scene.pins()).expect("makes it");
        chown(scene.pins(), Some(NOBODY), Some(NOBODY)).expect("gives it away");
        assert!(scene.load_fails().contains("made by user 65534"));
        chown(scene.pins(), Some(0), Some(0)).expect("takes it back");
        fs::set_permissions(scene.pins(), Permissions::from_mode(0o777)).expect("opens it");
        assert!(scene.load_fails().contains("mode 0777"));
        fs::remove_dir(scene.pins()).expect("removes it");

        // Another loader is at work.
        fs::create_dir(scene.pins()).expect("makes it");
        fs::set_permissions(scene.pins(), Permissions::from_mode(0o700)).expect("its mode");
        let lock = portcullis::file_lock::take(&scene.pins()).expect("opens").expect("is free");
        assert!(scene.load_fails().contains("another loader is at work"));
        drop(lock);
        scene.load();
        assert!(scene.kernel("clean", &[]).status.success());
        none();
        wait_attached(0);
    });
}

#[test]
fn another_program_at_xdp_is_named_and_left_alone() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let neighbour = Neighbour::new();
        let other = Scene::on(&[HERE[0]], &["filter.hook = \"xdp\""]);
        other.load();
        // The mount of the second covers nothing of the first.
        let scene = Scene::on(&[HERE[0]], &["filter.hook = \"xdp-generic\""]);
        let said = scene.load_fails();
        assert!(said.contains("room for one XDP program"), "{said}");
        assert!(!scene.pins().exists());
        scene.configure(&["filter.hook = \"tc\""]);
        scene.load();
        assert_eq!(other.show()["versions"][0]["interfaces"][0]["name"], "out");
        drop(neighbour);
    });
}

#[test]
fn doctor_says_what_serve_would_do_with_pins() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let scene = Scene::new(&[]);
        let doctor = |expected: &[(&str, &str)]| {
            let mut command = Command::new(program());
            command.args(["doctor", "--json", "--config"]).arg(scene.folder().join("portcullis.toml"));
            let output = command.output().expect("runs");
            let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
            let checks = report["checks"].as_array().expect("a list").iter();
            let found: Vec<_> = checks
                .filter(|check| {
                    ["pins", "filter", "steering", "capabilities"].iter().any(|name| check["name"] == **name)
                })
                .map(|check| (check["name"].as_str().expect("text"), check["state"].as_str().expect("text")))
                .collect();
            assert_eq!(found, expected, "{report}");
            report
        };
        doctor(&[("capabilities", "ok"), ("filter", "ok"), ("steering", "ok")]);
        scene.load();
        let report = doctor(&[("pins", "ok"), ("filter", "ok"), ("steering", "ok")]);
        let gateway = scene.serve(&[]);
        for key in ["backend", "hook", "steering"] {
            assert_eq!(report[key], gateway.ready(key), "{key}");
        }
        assert!(gateway.stop().success());
        fs::remove_file(scene.version().join("tc-1")).expect("removes it");
        doctor(&[("pins", "ok"), ("filter", "degraded"), ("steering", "ok")]);
        scene.configure(&["range.last = 15001"]);
        let report = doctor(&[("pins", "missing")]);
        assert_eq!(report["backend"], "-");
    });
}

#[test]
fn a_daemon_that_loaded_for_itself_is_not_locked_in() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let gateway = Gateway::start(folder.path(), "ebpf", &[]);
        let scene = Scene::new(&[]);
        let said = scene.load_fails();
        assert!(said.contains("a daemon that loaded for itself filters 127.0.80.1 there"), "{said}");
        assert!(!scene.pins().exists());
        wait_attached(1);
        assert!(gateway.stop().success());
        scene.load();
        scene.load();
        // Another address is nobody's rival.
        let folder = tempfile::tempdir().expect("a folder");
        let other = Gateway::start_by(folder.path(), &["127.0.80.2"], "ebpf", &[], |command, _| command);
        scene.load();
        drop(other);
    });
}

#[test]
fn a_load_that_fails_changes_nothing() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let _neighbour = Neighbour::new();
        run("ip", &["link", "add", "gate0", "type", "veth", "peer", "name", "gate1"]);
        // Somebody else has the one place at XDP there.
        let other = Scene::on(&[HERE[0]], &["interfaces = [\"gate0\"]", "filter.hook = \"xdp-generic\""]);
        other.load();
        let hook = "filter.hook = \"xdp-generic\"";
        let scene = Scene::on(&[HERE[0]], &["interfaces = [\"out\"]", hook]);
        scene.load();
        let before = scene.show();
        assert_eq!(before["versions"][0]["addresses"][0], "10.77.0.1 10000-15000");
        // As many ports as before, and others: what is pinned has the right size, and is not for them.
        let shifted =
            ["interfaces = [\"out\", \"gate0\"]", hook, "range.first = 10001", "range.last = 15001"];
        scene.configure(&shifted);
        assert!(scene.load_fails().contains("room for one XDP program"));
        assert_eq!(scene.show(), before);
        let gateway = scene.serve(&["interfaces = [\"out\"]", hook]);
        assert!(gateway.stop().success());
    });
}
