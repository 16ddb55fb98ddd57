//! Descriptors, local ports or memory run out: who comes then is told so, and who is in stays.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use portcullis_tests::gateway::{ADDRESS, Gateway};
use portcullis_tests::memory_group::MemoryGroup;
use portcullis_tests::process::Guarded;
use portcullis_tests::target::Target;
use portcullis_tests::websocket::{connect_from, echoes, open, open_from};
use portcullis_tests::{behind_every_gate, wait_for};
use serde_json::json;

behind_every_gate!(
    who_comes_too_late_is_told_and_who_is_in_stays,
    the_daemon_takes_as_many_descriptors_as_it_may,
    no_local_port_is_left_to_dial_from,
    no_memory_is_left_for_more,
);

/// A gateway that may have so many descriptors: at first, and when it asks for more.
fn gateway(folder: &Path, backend: &str, (soft, hard): (u32, u32)) -> Gateway {
    // Nobody is taken for slow here.
    let more = ["session.header_s = 3600", "session.first_byte_s = 3600"];
    Gateway::start_by(folder, &[ADDRESS], backend, &more, |command, _| {
        let mut limited = Command::new("prlimit");
        limited.arg(format!("--nofile={soft}:{hard}")).arg(command.get_program()).args(command.get_args());
        limited
    })
}

fn the_daemon_takes_as_many_descriptors_as_it_may(backend: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = gateway(folder.path(), backend, (128, 2_000));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gateway.id())).expect("limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    assert_eq!(line.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["2000", "2000"], "{line}");
}

/// Local ports of a whole network namespace (ip(7), `ip_local_port_range`).
const LOCAL_PORTS: usize = 8;

fn no_local_port_is_left_to_dial_from(backend: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), backend, &[]);
    let port = Target::new().echo();
    let broker = gateway.open(port);
    let tickets: Vec<_> = (0..=LOCAL_PORTS).map(|_| gateway.open_again(broker.instance())).collect();
    let range = format!("40000 {}", 40_000 + LOCAL_PORTS - 1);
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", range).expect("a setting of the namespace");
    // Each from an address of its own, which has these ports as well; what one is bound to is not dialled from.
    let opens = |number: usize| open_from(&format!("127.0.0.{}", 10 + number), &tickets[number]);
    let mut sessions = Vec::new();
    let refused = (0..=LOCAL_PORTS).find_map(|number| match opens(number) {
        Ok(session) => {
            sessions.push(session);
            None
        }
        Err(refused) => Some((number, refused)),
    });
    let (late, refused) = refused.expect("there are no more ports");
    assert_eq!(refused, (503, "full".into()));
    assert!(!sessions.is_empty());
    sessions.iter_mut().for_each(|session| echoes(session, b"still here"));
    // What they give back, another has.
    sessions.clear();
    let mut tries = 1..250;
    let mut session = wait_for("room", || {
        std::thread::sleep(Duration::from_millis(200));
        // A port of an address that was used rests.
        open_from(&format!("127.0.1.{}", tries.next()?), &tickets[late]).ok()
    });
    echoes(&mut session, b"let in");
}

/// Bytes that a control group has.
const LITTLE: u64 = 512 * 1024 * 1024;
/// Bytes that the daemon keeps for the sessions that run.
const RESERVE: u64 = 64 * 1024 * 1024;

fn no_memory_is_left_for_more(backend: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(group) = MemoryGroup::new(LITTLE) else { return };
    let gateway =
        Gateway::start_by(folder.path(), &[ADDRESS], backend, &[], |command, _| group.wrap(&command));
    let port = Target::new().echo();
    let (broker, late) = (gateway.open(port), gateway.open_again(&format!("i-{port}")));
    let mut good = open(&broker).expect("a session");
    let left = || gateway.metric("portcullis_memory_left_bytes") as u64;
    wait_for("a first look at memory", || (RESERVE..LITTLE).contains(&left()).then_some(()));
    // Somebody in the same group takes all of it but half of that.
    let bytes = left() - RESERVE / 2;
    let mut hog = Command::new("perl");
    hog.args(["-e", "vec(my $all, $ARGV[0] - 1, 8) = 1; sleep", &bytes.to_string()]);
    let hog = Guarded::start(group.wrap(&hog).stdin(Stdio::null()));
    wait_for("memory to run out", || (left() < RESERVE).then_some(()));
    let answer = || match open(&late) {
        Ok(_) => "let in".to_owned(),
        Err((status, code)) => format!("{status} {code}"),
    };
    assert_eq!(answer(), "503 full");
    echoes(&mut good, b"still here");
    assert!(gateway.log().contains("no memory is left for new sessions"), "{}", gateway.log());
    // What another one gives back, they have; the ticket is as good as before.
    drop(hog);
    wait_for("room", || (answer() == "let in").then_some(()));
    echoes(&mut good, b"and on");
}

/// Connections of all relay cores.
fn connections(gateway: &Gateway) -> f64 {
    let page = gateway.metrics();
    let cores = page.lines().filter_map(|line| line.strip_prefix("portcullis_core_connections{core="));
    cores.map(|line| line.split_once(' ').expect("a value").1.parse::<f64>().expect("a number")).sum()
}

/// Bytes at once.
const MUCH: usize = 32 * 1024 * 1024;

/// Pipes among the descriptors from 192 on, which are the reserve where there may be 256.
fn pipes_of_reserve(gateway: &Gateway) -> HashSet<OsString> {
    let folder = format!("/proc/{}/fd", gateway.id());
    let entries = std::fs::read_dir(folder).expect("descriptors").flatten();
    let pipe = |entry: std::fs::DirEntry| {
        let number = entry.file_name().to_string_lossy().parse::<u32>().expect("a number");
        // One that is closed meanwhile leads nowhere.
        let file = std::fs::read_link(entry.path()).unwrap_or_default().into_os_string();
        (number >= 192 && file.to_string_lossy().starts_with("pipe:")).then_some(file)
    };
    entries.filter_map(pipe).collect()
}

/// Those of them that stay, and not what is made and given back at once.
fn pipes_kept_of_reserve(gateway: &Gateway) -> HashSet<OsString> {
    let before = pipes_of_reserve(gateway);
    if before.is_empty() {
        return before;
    }
    std::thread::sleep(Duration::from_millis(50));
    before.intersection(&pipes_of_reserve(gateway)).cloned().collect()
}

fn who_comes_too_late_is_told_and_who_is_in_stays(backend: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = gateway(folder.path(), backend, (256, 256));
    let port = Target::new().echo();
    let (broker, late) = (gateway.open(port), gateway.open_again(&format!("i-{port}")));
    let mut good = open(&broker).expect("a session");
    let target = Target::new();
    let mut bulk = open(&gateway.open(target.port())).expect("a session");
    let mut console = target.accept();
    // They say nothing, and take what is left. One address may have 64 of them.
    let silent: Vec<TcpStream> = (0..240)
        .map(|number| connect_from(&format!("127.0.0.{}", 2 + number % 4), broker.endpoint))
        .collect();
    let refusals = || gateway.metric("portcullis_handshake_refusals_total{code=\"full\"}");
    wait_for("somebody to be told", || (refusals() > 0.0).then_some(()));
    assert!(connections(&gateway) > 100.0, "{}", gateway.metrics());

    assert_eq!(open(&late).expect_err("there is no room"), (503, "full".into()));
    echoes(&mut good, b"still here");
    // What is fast by a pipe takes none from the reserve.
    let inherited = pipes_kept_of_reserve(&gateway);
    let sends = std::thread::spawn(move || console.write_all(&[7; MUCH]).expect("the console writes"));
    let (mut came, mut looked) = (0, 0);
    while came < MUCH {
        came += bulk.read().expect("a message").len();
        if came - looked >= MUCH / 16 {
            looked = came;
            assert_eq!(pipes_kept_of_reserve(&gateway), inherited, "after {came} bytes");
        }
    }
    sends.join().expect("sends all");
    let (status, answer) = gateway.api().post("/v1/brokers", &json!({ "instance_id": broker.instance() }));
    match backend {
        // A broker needs a socket of its own.
        "none" => assert_eq!((status, &answer["code"]), (503, &json!("full")), "{answer}"),
        _ => assert_eq!(status, 201, "{answer}"),
    }

    drop(silent);
    let mut session = wait_for("room", || open(&late).ok());
    echoes(&mut session, b"let in");
    echoes(&mut good, b"still here");
    let complaints = gateway.log().matches("are not accepted").count();
    // Of each listener one, and again where it went on in between.
    assert!(complaints < 20, "{complaints} of them");
}
