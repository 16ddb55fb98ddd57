//! Terminals, end to end: a machine's serial line, a container, a program in a terminal of the gateway's.

use portcullis_tests::gateway::{Broker, Gateway};
use portcullis_tests::lxc::{self, Container};
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::serial::SerialMachine;
use portcullis_tests::terminal::{Terminal, resize};
use portcullis_tests::{qemu, require, wait_for};
use serde_json::json;

/// GRUB's menu, and its command line behind it.
const MENU: &str = "GNU GRUB";
const PROMPT: &str = "grub> ";

/// From wherever it is: what is pressed after the countdown of the menu may be lost.
fn to_the_prompt(terminal: &mut Terminal) {
    terminal.wait_for(MENU);
    terminal.press_until("c", PROMPT);
    terminal.type_and_look("\r");
}

fn serial_on_socket(gateway: &Gateway) -> Broker {
    gateway.open_as("i-serial", &json!({ "graphics_protocol": "serial", "graphics_path": "line" }))
}

/// Runs `body` in a namespace, with a machine and a gateway whose configuration has `more`.
fn with_serial(more: &[&str], body: impl FnOnce(&Gateway) + Send) {
    if !(require::root() && qemu::is_here()) {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let root = format!("targets.unix_root = {:?}", folder.path());
        let _machine = SerialMachine::on_socket(&folder.path().join("line"));
        let lines: Vec<&str> = [root.as_str()].into_iter().chain(more.iter().copied()).collect();
        body(&Gateway::start(folder.path(), "none", &lines));
    });
}

#[test]
fn a_serial_line_is_shown_and_typed_on() {
    with_serial(&[], |gateway| {
        let broker = serial_on_socket(gateway);
        let mut terminal = Terminal::open(&broker).expect("opens");
        to_the_prompt(&mut terminal);
        terminal.type_and_look("set x=wor\recho ${x}ks\r");
        terminal.wait_for("works");
        // Who comes back sees what was there, and goes on.
        drop(terminal);
        let mut again = Terminal::open(&broker).expect("comes back");
        again.wait_for("works");
        again.type_and_look("echo ${x}ked\r");
        again.wait_for("worked");
        drop(again);
        // And so does somebody else, as long as a session lives.
        let other = gateway.open_again("i-serial");
        let mut late = Terminal::open(&other).expect("a ticket of its own");
        late.wait_for("worked");
    });
}

#[test]
fn nothing_is_kept_of_a_console_that_is_over() {
    with_serial(&["session.reconnect_s = 1"], |gateway| {
        let broker = serial_on_socket(gateway);
        let mut terminal = Terminal::open(&broker).expect("opens");
        to_the_prompt(&mut terminal);
        drop(terminal);
        gateway.wait_metric("portcullis_brokers{state=\"open\"}", 0.0);
        let mut next = Terminal::open(&gateway.open_again("i-serial")).expect("opens");
        next.type_and_look("set x=wor\recho ${x}ks\r");
        next.wait_for("works");
        assert!(!next.raw().contains(MENU), "{:?}", next.raw());
    });
}

#[test]
fn nothing_is_kept_of_an_instance_that_was_removed() {
    with_serial(&[], |gateway| {
        let broker = serial_on_socket(gateway);
        let mut terminal = Terminal::open(&broker).expect("opens");
        to_the_prompt(&mut terminal);
        // Whoever has the same id and the same line now is somebody else.
        assert_eq!(gateway.api().delete("/v1/instances/i-serial").0, 204);
        terminal.ended();
        let mut next = Terminal::open(&serial_on_socket(gateway)).expect("opens");
        next.type_and_look("set x=wor\recho ${x}ks\r");
        next.wait_for("works");
        assert!(!next.raw().contains(MENU), "{:?}", next.raw());
    });
}

#[test]
fn nothing_is_kept_where_nothing_is_to_be() {
    with_serial(&["terminals.history = 0"], |gateway| {
        let broker = serial_on_socket(gateway);
        let mut terminal = Terminal::open(&broker).expect("opens");
        to_the_prompt(&mut terminal);
        drop(terminal);
        let mut again = Terminal::open(&broker).expect("comes back");
        again.type_and_look("set x=wor\recho ${x}ks\r");
        again.wait_for("works");
        assert!(!again.raw().contains(MENU), "{:?}", again.raw());
    });
}

#[test]
fn telnet_is_spoken_with_the_line_and_not_with_the_client() {
    if !(require::root() && qemu::is_here()) {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let (_machine, port) = SerialMachine::by_telnet();
        let gateway = Gateway::start(folder.path(), "none", &[]);
        let broker = gateway.open_speaking("serial", port);
        let mut terminal = wait_for("QEMU to listen", || Terminal::open(&broker).ok());
        to_the_prompt(&mut terminal);
        terminal.type_and_look("set x=wor\recho ${x}ks\r");
        terminal.wait_for("works");
        // Nothing of what telnet has beside the text, which is no UTF-8.
        assert!(!terminal.raw().contains('\u{fffd}'), "{:?}", terminal.raw());
    });
}

#[test]
fn a_container_has_a_console() {
    if !lxc::is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let container = Container::start(folder.path());
        let command =
            format!("terminals.commands.lxc = {{ command = {}, user = \"root\" }}", container.console());
        let gateway = Gateway::start(folder.path(), "none", &[&command]);
        let body = json!({ "hypervisor": "lxc", "graphics_command": "lxc", "graphics_arguments": ["c1"] });
        let broker = gateway.open_as("i-c1", &body);
        assert_eq!(broker.answer["graphics_protocol"], "container");
        let (_, described) = gateway.api().get("/iaas/?action=DescribeInstances&instances.1=i-c1");
        assert_eq!(described["instance_set"][0]["extra"]["hypervisor"], "lxc", "{described}");

        let mut terminal = Terminal::open(&broker).expect("opens");
        // Nothing is shown before the first key.
        terminal.press_until("\r", "in c1# ");
        terminal.type_text("hostname; echo $((6 * 7))\r");
        terminal.wait_for("\n42");
        assert_eq!(consoles(folder.path()), 1);
        drop(terminal);
        wait_for("the program to end", || (consoles(folder.path()) == 0).then_some(()));
        // The shell goes on, and what it asked a terminal that is gone is not asked again.
        let mut again = Terminal::open(&broker).expect("comes back");
        again.wait_for("\n42");
        assert!(!again.raw().contains("\x1b[6n"), "{:?}", again.raw());
        again.press_until("echo $((7 * 7))\r", "\n49");
        let (_, sessions) = gateway.api().get("/v1/sessions?state=live");
        let session = sessions["items"][0]["session_id"].as_str().expect("a session").to_owned();
        assert_eq!(gateway.api().delete(&format!("/v1/sessions/{session}")).0, 204);
        assert_eq!(again.ended(), 4001);
        wait_for("the program to end", || (consoles(folder.path()) == 0).then_some(()));
    });
}

/// How many programs show a console of the containers in `folder`.
fn consoles(folder: &std::path::Path) -> usize {
    let folder = folder.display().to_string();
    let processes = std::fs::read_dir("/proc").expect("processes").flatten();
    let commands = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    commands
        .filter(|command| command.starts_with(b"/usr/bin/lxc-console"))
        .filter(|command| String::from_utf8_lossy(command).contains(&folder))
        .count()
}

#[test]
fn a_program_follows_the_window_of_its_client() {
    if !require::root() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let command = "terminals.commands.shell = { command = [\"/bin/sh\"], user = \"nobody\" }";
        let gateway = Gateway::start(folder.path(), "none", &[command]);
        let body = json!({ "graphics_protocol": "container", "graphics_command": "shell" });
        let broker = gateway.open_as("i-shell", &body);
        let mut terminal = Terminal::open_in(&broker, 100, 30).expect("opens");
        terminal.type_text("stty size; id -un; id -Gn; tty\r");
        terminal.wait_for("30 100");
        // A user of its own, without our groups, on a terminal of its own.
        terminal.wait_for("nobody\r\nnogroup\r\n/dev/pts/");
        assert_eq!(resize(broker.endpoint, &broker.token, 132, 43), 200);
        terminal.type_text("stty size\r");
        terminal.wait_for("43 132");
        assert_eq!(resize(broker.endpoint, &"0".repeat(64), 80, 25), 403);
        // A program that ends is a console that closes.
        terminal.type_text("exit\r");
        assert_eq!(terminal.ended(), 1000);
    });
}

#[test]
fn an_instance_names_a_command_and_nothing_more() {
    if !require::root() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let command = "terminals.commands.echo = { command = [\"/bin/echo\", \"{1}\"], user = \"nobody\" }";
        let gateway = Gateway::start(folder.path(), "none", &[command]);
        let body = |name: &str, arguments: &[&str]| json!({ "graphics_protocol": "serial", "graphics_command": name, "graphics_arguments": arguments });
        for (name, arguments) in [
            ("echo", &["--help"][..]),
            ("echo", &["a b"]),
            ("echo", &["$HOME"]),
            ("echo", &["../x"]),
            ("/bin/sh", &["x"]),
            ("", &[]),
        ] {
            let (status, answer) = gateway.api().put("/v1/instances/i-1", &body(name, arguments));
            assert_eq!((status, &answer["code"]), (400, &json!("bad_request")), "{name} {arguments:?}");
        }
        // What only the configuration can tell is told where the console is opened.
        for (name, arguments) in [("sh", &["x"][..]), ("echo", &[]), ("echo", &["a", "b"])] {
            let broker = gateway.open_as("i-1", &body(name, arguments));
            let refused = Terminal::open(&broker).err();
            assert_eq!(refused, Some((502, "target_refused".into())), "{name} {arguments:?}");
        }
        let broker = gateway.open_as("i-1", &body("echo", &["good"]));
        let mut terminal = Terminal::open(&broker).expect("opens");
        terminal.wait_for("good");
        assert_eq!(terminal.ended(), 1000);
        assert!(gateway.log().contains("there is no command \"sh\""), "{}", gateway.log());
    });
}

#[test]
fn a_socket_lies_under_its_root() {
    with_serial(&[], |gateway| {
        let body = |path: &str| json!({ "graphics_protocol": "serial", "graphics_path": path });
        for path in ["../line", "/etc/passwd", "", "a//b"] {
            assert_eq!(gateway.api().put("/v1/instances/i-1", &body(path)).0, 400, "{path}");
        }
        let broker = gateway.open_as("i-1", &body("none"));
        assert_eq!(Terminal::open(&broker).err(), Some((502, "target_refused".into())));
    });
}
