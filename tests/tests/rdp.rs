//! RDP desktops with native viewers: who is let in by what, and that nothing but the ticket is taken from the stream.

use std::path::Path;

use nix::sys::signal::Signal;
use portcullis_tests::browser::{self, Browser};
use portcullis_tests::gateway::{Broker, Gateway};
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::process::Guarded;
use portcullis_tests::rdp::{self, Security, Shadow};
use portcullis_tests::viewer::Desk;
use portcullis_tests::{require, wait_for};
use serde_json::Value;

fn all_is_here() -> bool {
    require::kernel() && rdp::is_here()
}

/// A desktop, a gateway that knows it as `i-desk`, and a screen for its viewers.
fn desktop(folder: &Path, security: Security<'_>) -> (Shadow, Gateway, Desk) {
    let shadow = Shadow::start(&folder.join("shadow"), security);
    let gateway = Gateway::start(folder, "ebpf", &[]);
    gateway.add_instance_speaking("i-desk", "rdp", shadow.port);
    let desk = Desk::start(folder);
    (shadow, gateway, desk)
}

/// Opens FreeRDP's viewer, which believes any certificate, and says who it is.
fn viewer(desk: &Desk, arguments: &[&str]) -> Guarded {
    let usual = ["/cert:ignore", "/u:someone", "/p:secret34"];
    desk.open("xfreerdp", &[arguments, &usual].concat())
}

/// Ends a viewer. It is not this process's child, and one that is killed leaves it on its screen.
fn leaves(mut viewer: Guarded, gateway: &Gateway) {
    viewer.signal(Signal::SIGTERM);
    viewer.ended();
    gateway.wait_metric("portcullis_connections_active", 0.0);
}

fn at(broker: &Broker) -> String {
    format!("/v:{}", broker.endpoint)
}

fn live(gateway: &Gateway) -> Vec<Value> {
    gateway.api().get("/v1/sessions?state=live").1["items"].as_array().expect("a list").clone()
}

/// The desktop is seen, and a key arrives there.
fn is_seen_and_typed_at(shadow: &Shadow, desk: &Desk, key: &str) {
    let typed = shadow.typed().len();
    shadow.is_shown_on(desk);
    desk.press(key);
    wait_for("the key to arrive", || shadow.typed()[typed..].ends_with(key.as_bytes()).then_some(()));
}

/// Nothing that the gateway wrote has a secret in it.
fn nothing_told(gateway: &Gateway, ticket: &str) {
    let audit = std::fs::read_to_string(gateway.state_dir().join("audit.log")).expect("a log");
    for text in [gateway.log(), audit] {
        assert!(!text.contains(ticket), "a ticket is in a log");
    }
}

/// Seen, typed at, and one session, which is then left.
fn is_one_session(shadow: &Shadow, gateway: &Gateway, desk: &Desk, viewer: Guarded, key: &str) {
    is_seen_and_typed_at(shadow, desk, key);
    desk.shot(&format!("rdp-native-{key}"));
    // Who comes back may do so while the end before is being recorded, which is put right then.
    let session = wait_for("its session", || {
        let sessions = live(gateway);
        assert!(sessions.len() <= 1, "{sessions:?}");
        sessions.into_iter().next()
    });
    assert_eq!(session["graphics_protocol"], "rdp");
    leaves(viewer, gateway);
    wait_for("the end to be recorded", || live(gateway).is_empty().then_some(()));
}

#[test]
fn a_ticket_comes_as_blob_or_as_routing_token() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let (shadow, gateway, desk) = desktop(folder.path(), Security::Tls);
        for (carrier, key) in [("/pcb:", "b"), ("/load-balance-info:Cookie: msts=", "r")] {
            let broker = gateway.open_again("i-desk");
            let viewer = viewer(&desk, &[&at(&broker), &format!("{carrier}{}", broker.token)]);
            is_one_session(&shadow, &gateway, &desk, viewer, key);
            nothing_told(&gateway, &broker.token);
        }
    });
}

#[test]
fn connections_by_one_ticket_are_one_session_and_leave_each_other_alone() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let (shadow, gateway, first) = desktop(folder.path(), Security::Tls);
        let more = folder.path().join("second");
        std::fs::create_dir(&more).expect("a folder");
        let second = Desk::start(&more);
        let broker = gateway.open_again("i-desk");
        let (address, blob) = (at(&broker), format!("/pcb:{}", broker.token));
        let by_first = viewer(&first, &[&address, &blob]);
        is_seen_and_typed_at(&shadow, &first, "1");
        let _by_second = viewer(&second, &[&address, &blob]);
        is_seen_and_typed_at(&shadow, &second, "2");
        is_seen_and_typed_at(&shadow, &first, "3");
        let sessions = live(&gateway);
        assert_eq!((sessions.len(), &sessions[0]["connections"]), (1, &2.into()), "{sessions:?}");
        by_first.signal(Signal::SIGTERM);
        gateway.wait_metric("portcullis_connections_active", 1.0);
        is_seen_and_typed_at(&shadow, &second, "4");
        assert_eq!(gateway.metric("portcullis_sessions_total{protocol=\"rdp\"}"), 1.0);
    });
}

#[test]
fn an_address_lets_a_viewer_in_without_a_ticket() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let user = Security::Nla { user: "someone", password: "secret34" };
        let (shadow, gateway, desk) = desktop(folder.path(), user);
        let broker = gateway.open_native("i-desk");
        let viewer = viewer(&desk, &[&at(&broker)]);
        // By CredSSP, from end to end: the gateway has no part in it, and no password.
        is_one_session(&shadow, &gateway, &desk, viewer, "n");
        nothing_told(&gateway, "secret34");
    });
}

/// What the page's button saves, with the ticket of its link.
fn file_of_page(broker: &Broker) -> String {
    let mut browser = Browser::open(broker.answer["console_url"].as_str().expect("a URL"));
    // The page asks for a login, and who has a viewer of their own need not give it one.
    browser.wait_state("credentials");
    browser.click("#settings-button");
    browser.shot("rdp-file-button");
    let (name, file) = browser.download("#rdp-file");
    assert_eq!(name, "console.rdp");
    assert!(!browser.shows("#viewer-file"));
    file
}

fn file_of_command_line(gateway: &Gateway) -> String {
    let output = gateway.command_line().args(["open", "i-desk", "--rdp", "-"]).output().expect("runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// What the file says under `name`.
fn line<'a>(file: &'a str, name: &str) -> &'a str {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(":s:");
    file.lines().find_map(value).unwrap_or_else(|| panic!("no {name}: {file}"))
}

#[test]
fn a_viewer_opens_the_file_of_api_page_and_command_line() {
    if !all_is_here() || !require::pages() || !browser::is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let (shadow, gateway, desk) = desktop(folder.path(), Security::Tls);
        let broker = gateway.open_again("i-desk");
        let of_api = gateway.api().get_text(&format!("/v1/brokers/{}/console.rdp", broker.id));
        let files = [(of_api, "a"), (file_of_page(&broker), "p"), (file_of_command_line(&gateway), "c")];
        let mut tickets = Vec::new();
        for (file, key) in &files {
            let path = folder.path().join("desk.rdp");
            // There is no microphone here, without which FreeRDP connects again and again, and gives up at some time.
            let quiet = file.replace("audiocapturemode:i:1", "audiocapturemode:i:0");
            assert_ne!(*file, quiet);
            std::fs::write(&path, quiet).expect("writes");
            let viewer = viewer(&desk, &[path.to_str().expect("text")]);
            is_one_session(&shadow, &gateway, &desk, viewer, key);
            nothing_told(&gateway, line(file, "pcb"));
            tickets.push(line(file, "pcb"));
        }
        // That of the page is its own, the others are new.
        assert_eq!(tickets[1], broker.token);
        tickets.sort_unstable();
        tickets.dedup();
        assert_eq!(tickets.len(), 3);
        assert_eq!(gateway.metric("portcullis_sessions_total{protocol=\"rdp\"}"), 3.0);
    });
}

#[test]
fn a_viewer_without_a_good_ticket_is_refused() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let (shadow, gateway, desk) = desktop(folder.path(), Security::Tls);
        let broker = gateway.open_again("i-desk");
        gateway.add_instance_speaking("i-other", "rdp", shadow.port);
        let other = gateway.open_again("i-other");
        let before = shadow.log();
        for (more, code) in [
            (vec![], "no_ticket"),
            (vec![format!("/pcb:{}", "5a".repeat(32))], "wrong_ticket"),
            (vec![format!("/load-balance-info:Cookie: msts={}", other.token)], "wrong_ticket"),
        ] {
            let refusals = format!("portcullis_handshake_refusals_total{{code=\"{code}\"}}");
            let so_far = gateway.metric(&refusals);
            let address = at(&broker);
            let arguments: Vec<_> = more.iter().map(String::as_str).chain([address.as_str()]).collect();
            // FreeRDP hears that it is not to come, and does not try again in other ways.
            assert!(!viewer(&desk, &arguments).ended().success());
            gateway.wait_metric(&refusals, so_far + 1.0);
        }
        assert_eq!(shadow.log(), before, "the desktop was called");
    });
}

#[test]
fn a_file_is_for_who_can_use_it() {
    in_namespace_if_root(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let lines = own_certificate(folder.path());
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let gateway = Gateway::start(folder.path(), "none", &lines);
        for protocol in ["rdp", "vnc"] {
            gateway.add_instance_speaking(&format!("i-{protocol}"), protocol, 3389);
        }
        for (id, detail) in
            [("i-rdp", "broker ports speak TLS only here"), ("i-vnc", "this console speaks vnc")]
        {
            let broker = gateway.open_again(id);
            let (status, problem) = gateway.api().get(&format!("/v1/brokers/{}/console.rdp", broker.id));
            assert_eq!(status, 400, "{problem}");
            assert!(problem["detail"].as_str().is_some_and(|text| text.contains(detail)), "{problem}");
        }
        assert_eq!(gateway.api().get("/v1/brokers/b-none/console.rdp").0, 404);
    });
}

fn in_namespace_if_root(body: impl FnOnce() + Send) {
    if require::root() {
        in_namespace(body);
    }
}

/// Configuration by which broker ports speak TLS only.
fn own_certificate(folder: &Path) -> [String; 5] {
    let own = rcgen::generate_simple_self_signed(["console.example".to_owned()]).expect("a certificate");
    let files = [("certificate", own.cert.pem()), ("key", own.signing_key.serialize_pem())];
    let [certificate, key] = files.map(|(name, text)| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("writes");
        format!("tls.{name} = {path:?}")
    });
    let others =
        ["tls.broker_ports = \"required\"", "api.tls = false", "metrics.tls = false"].map(String::from);
    let [ports, api, metrics] = others;
    [certificate, key, ports, api, metrics]
}
