//! `portcullis console`, as a person uses it: in a terminal, which is as it was afterwards.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portcullis_tests::gateway::{ADDRESS, Gateway, program};
use portcullis_tests::lxc::{self, Container};
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::pty::Person;
use portcullis_tests::serial::SerialMachine;
use portcullis_tests::tls::Authority;
use portcullis_tests::{qemu, require, wait_for};
use serde_json::json;

const SHELL: &str = "terminals.commands.shell = { command = [\"/bin/sh\"], user = \"nobody\" }";

/// Opens the console of `id` between two looks at the settings of the terminal.
fn attends(gateway: &Gateway, id: &str) -> Person {
    let program = program();
    let line = format!(
        "stty cols 100 rows 30; echo before=$(stty -g); {} console {id}; echo rc=$?; echo after=$(stty -g); \
         echo the end",
        program.display()
    );
    Person::runs(&line, &gateway.command_line())
}

/// The terminal is as it was.
fn is_as_before(seen: &str) {
    let settings =
        |name: &str| seen.lines().find_map(|line| line.strip_prefix(name)).map(|line| line.trim().to_owned());
    let before = settings("before=").expect("settings");
    assert_eq!(settings("after="), Some(before), "{seen}");
}

fn with_shell(body: impl FnOnce(&Gateway) + Send) {
    with_shell_behind(|_| Vec::new(), body);
}

/// The same with more lines of configuration, for which there is a folder.
fn with_shell_behind(more: impl FnOnce(&Path) -> Vec<String> + Send, body: impl FnOnce(&Gateway) + Send) {
    if !require::root() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let more = more(folder.path());
        let lines: Vec<_> = [SHELL].into_iter().chain(more.iter().map(String::as_str)).collect();
        let gateway = Gateway::start(folder.path(), "none", &lines);
        let body_of = json!({ "graphics_protocol": "container", "graphics_command": "shell" });
        assert_eq!(gateway.api().put("/v1/instances/i-shell", &body_of).0, 201);
        body(&gateway);
    });
}

/// The process that shows the console of `id`.
fn console(id: &str) -> Pid {
    let processes = || std::fs::read_dir("/proc").expect("processes").flatten();
    let wanted = format!("{}\0console\0{id}\0", program().display());
    let find = || {
        processes().find_map(|process| {
            let command = std::fs::read(process.path().join("cmdline")).ok()?;
            let is_it = command == wanted.as_bytes();
            is_it.then(|| process.file_name().to_str()?.parse().ok()).flatten()
        })
    };
    Pid::from_raw(wait_for("the console", find))
}

#[test]
fn a_container_is_a_terminal_away() {
    if !lxc::is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let container = Container::start(folder.path());
        let command =
            format!("terminals.commands.lxc = {{ command = {}, user = \"root\" }}", container.console());
        let gateway = Gateway::start(folder.path(), "none", &[&command]);
        let add = ["instance", "add", "i-c1", "--hypervisor", "lxc", "--command", "lxc", "--argument", "c1"];
        let added = gateway.command_line().args(add).status().expect("runs");
        assert!(added.success());
        let mut person = attends(&gateway, "i-c1");
        person.waits_for("Connected to i-c1. Ctrl-] leaves.");
        person.presses_until("\r", "in c1# ");
        person.types("echo $((6 * 7))\r");
        person.waits_for("\n42");
        person.types("\x1d");
        let seen = person.sees_the_end();
        assert!(seen.contains("rc=0"), "{seen}");
        is_as_before(&seen);
    });
}

#[test]
fn a_serial_line_is_a_terminal_away() {
    if !(require::root() && qemu::is_here()) {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let _machine = SerialMachine::on_socket(&folder.path().join("line"));
        let root = format!("targets.unix_root = {:?}", folder.path());
        let gateway = Gateway::start(folder.path(), "none", &[&root]);
        let add = ["instance", "add", "i-1", "--protocol", "serial", "--socket", "line"];
        assert!(gateway.command_line().args(add).status().expect("runs").success());
        let mut person = attends(&gateway, "i-1");
        person.waits_for("GNU GRUB");
        person.presses_until("c", "grub> ");
        person.types_and_looks("\rset x=wor\recho ${x}ks\r");
        person.waits_for("works");
        person.types("\x1d");
        is_as_before(&person.sees_the_end());
    });
}

#[test]
fn the_terminal_is_as_it_was_however_the_console_ends() {
    with_shell(|gateway| {
        // The program ends.
        let mut person = attends(gateway, "i-shell");
        person.waits_for("$ ");
        person.types("stty size; exit\r");
        person.waits_for("30 100");
        let seen = person.sees_the_end();
        assert!(seen.contains("rc=0"), "{seen}");
        is_as_before(&seen);
        // Somebody ends us.
        for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
            let person = attends(gateway, "i-shell");
            person.waits_for("$ ");
            kill(console("i-shell"), signal).expect("it is there");
            let seen = person.sees_the_end();
            assert!(seen.contains(&format!("ended by {signal}")) && seen.contains("rc=1"), "{seen}");
            is_as_before(&seen);
        }
        // An operator ends the session.
        let person = attends(gateway, "i-shell");
        person.waits_for("$ ");
        let (_, sessions) = gateway.api().get("/v1/sessions?state=live");
        let session = sessions["items"][0]["session_id"].as_str().expect("a session").to_owned();
        assert_eq!(gateway.api().delete(&format!("/v1/sessions/{session}")).0, 204);
        let seen = person.sees_the_end();
        assert!(seen.contains("ended by an operator (4001)") && seen.contains("rc=1"), "{seen}");
        is_as_before(&seen);
    });
}

#[test]
fn a_terminal_is_reached_by_tls() {
    let lines = |folder: &Path| {
        let [certificate, key] = Authority::new(folder).issue(&[ADDRESS]);
        let others = ["tls.broker_ports = \"required\"", "api.tls = false", "metrics.tls = false"];
        [vec![certificate, key], others.map(str::to_owned).to_vec()].concat()
    };
    with_shell_behind(lines, |gateway| {
        // Nobody that this system trusts vouches for it.
        let seen = attends(gateway, "i-shell").sees_the_end();
        assert!(seen.contains("rc=1") && seen.contains("certificate"), "{seen}");
        is_as_before(&seen);
        let mut command = gateway.command_line();
        command.env("PORTCULLIS_CA_FILE", gateway.state_dir().join("../ca.crt"));
        let line = format!("{} console i-shell; echo rc=$?; echo the end", program().display());
        let mut person = Person::runs(&line, &command);
        person.waits_for("$ ");
        person.types("echo $((6 * 7)); exit\r");
        person.waits_for("\n42");
        assert!(person.sees_the_end().contains("rc=0"));
    });
}

#[test]
fn what_is_no_terminal_is_said_so() {
    with_shell(|gateway| {
        let output = gateway.command_line().args(["console", "i-shell"]).output().expect("runs");
        assert_eq!(output.status.code(), Some(2));
        gateway.add_instance("i-screen", 5900);
        let seen = attends(gateway, "i-screen").sees_the_end();
        assert!(seen.contains("speaks vnc: portcullis open i-screen") && seen.contains("rc=2"), "{seen}");
        let seen = attends(gateway, "i-none").sees_the_end();
        assert!(seen.contains("rc=3"), "{seen}");
        is_as_before(&seen);
    });
}
