//! Consoles of VNC that are shown over TLS only, in a browser that could not show them itself.

use portcullis_tests::browser::{self, Browser};
use portcullis_tests::gateway::Gateway;
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::process::run;
use portcullis_tests::qemu::{self, Machine, same_picture};
use portcullis_tests::require;
use portcullis_tests::tigervnc::{self, Desktop};
use portcullis_tests::tls::Authority;
use portcullis_tests::websocket::open;
use serde_json::json;

fn all_is_here() -> bool {
    require::kernel() && require::pages() && qemu::is_here() && browser::is_here()
}

/// The fingerprint of the machine's certificate, as openssl prints it.
fn pin(folder: &std::path::Path) -> String {
    let path = folder.join("server-cert.pem");
    run("openssl", &["x509", "-noout", "-fingerprint", "-sha256", "-in", path.to_str().expect("text")])
        .trim()
        .rsplit_once('=')
        .expect("a fingerprint")
        .1
        .to_owned()
}

#[test]
fn a_console_with_a_certificate_is_shown_in_a_browser() {
    if !all_is_here() {
        return;
    }
    for password in [Some("secret12"), None] {
        in_namespace(|| {
            let folder = tempfile::tempdir().expect("a folder");
            let mut machine = Machine::start_with_certificate(folder.path(), password);
            let gateway = Gateway::start(folder.path(), "ebpf", &[]);
            let put = |pin: &str| {
                let instance = json!({
                    "host": "127.0.0.1", "graphics_port": machine.vnc_port, "graphics_protocol": "vnc",
                    "graphics_passwd": password, "tls": "pin", "tls_pin": pin,
                });
                let (status, answer) = gateway.api().put("/v1/instances/i-tls", &instance);
                assert!(matches!(status, 200 | 201), "{answer}");
            };
            // Another certificate than the one that is known is somebody else's.
            put(&"5A".repeat(32));
            let refused = open(&gateway.open_again("i-tls"));
            assert_eq!(refused.err(), Some((502, "target_tls".into())));
            put(&pin(folder.path()));
            let broker = gateway.open_again("i-tls");
            let mut browser = Browser::open(broker.answer["console_url"].as_str().expect("a URL"));
            browser.wait_state("connected");
            same_picture(&mut machine, || browser.screen());
            browser.shot(if password.is_some() { "vencrypt-password" } else { "vencrypt" });
        });
    }
}

#[test]
fn a_console_for_a_user_is_shown_in_a_browser() {
    if !all_is_here() || !tigervnc::is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new(folder.path());
        authority.issue(&["desk.example"]);
        let desktop = Desktop::start_for(folder.path(), "ann", "secret12");
        let ca = format!("targets.ca = {:?}", authority.file());
        let gateway = Gateway::start(folder.path(), "ebpf", &[&ca]);
        let broker = |password: &str| {
            let instance = json!({
                "host": "127.0.0.1", "graphics_port": desktop.vnc_port, "graphics_protocol": "vnc",
                "graphics_passwd": password, "tls": "ca", "tls_server_name": "desk.example",
            });
            gateway.open_as("i-tls", &instance)
        };
        assert_eq!(open(&broker("ann:another1")).err(), Some((502, "target_password".into())));
        let broker = broker("ann:secret12");
        let mut browser = Browser::open(broker.answer["console_url"].as_str().expect("a URL"));
        browser.wait_state("connected");
        browser.type_text("typed by a user");
        desktop.wait_typed(b"typed by a user");
        browser.shot("vencrypt-user");
        assert!(!gateway.log().contains("secret12"), "the password is in the log");
    });
}

#[test]
fn tls_without_a_certificate_is_refused_by_name() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let machine = Machine::start_with_tls(folder.path());
        let gateway = Gateway::start(folder.path(), "ebpf", &[]);
        let instance = json!({
            "host": "127.0.0.1", "graphics_port": machine.vnc_port, "graphics_protocol": "vnc",
            "tls": "pin", "tls_pin": "5A".repeat(32),
        });
        assert_eq!(gateway.api().put("/v1/instances/i-tls", &instance).0, 201);
        let refused = open(&gateway.open_again("i-tls"));
        assert_eq!(refused.err(), Some((502, "target_security".into())));
        assert!(gateway.log().contains("TLSNone"), "{}", gateway.log());
    });
}
