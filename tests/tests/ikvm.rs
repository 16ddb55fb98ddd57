//! A management controller's console: VNC behind TLS with a certificate that it made itself, which is pinned. The
//! stand-in is TigerVNC behind a TLS front.

use portcullis_tests::browser::{self, Browser};
use portcullis_tests::gateway::{Broker, Gateway};
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::process::run;
use portcullis_tests::tigervnc::{self, Desktop};
use portcullis_tests::tls::{self, Authority};
use portcullis_tests::websocket::open;
use portcullis_tests::{require, wait_for};
use serde_json::{Value, json};

#[test]
fn the_browser_shows_a_controller_whose_certificate_is_pinned() {
    if !(require::root() && require::pages() && browser::is_here() && tigervnc::is_here()) {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let desktop = Desktop::start(folder.path(), "secret12");
        // For another name, by an authority that nobody knows: what counts is that it is this one.
        Authority::new(folder.path()).issue(&["bmc.invalid"]);
        let certificate = folder.path().join("certificate");
        let certificate = certificate.to_str().expect("text");
        let pin = run("openssl", &["x509", "-noout", "-fingerprint", "-sha256", "-in", certificate]);
        let port = tls::front(folder.path(), desktop.vnc_port);
        let gateway = Gateway::start(folder.path(), "none", &[]);
        let broker = |pin: &str| -> Broker {
            let body = json!({
                "host": "127.0.0.1", "graphics_port": port, "graphics_protocol": "ikvm",
                "graphics_passwd": "secret12", "tls": "pin", "tls_pin": pin,
            });
            gateway.open_as("i-bmc", &body)
        };
        // Another controller's certificate is not this one's, and its password is not said to it.
        assert_eq!(open(&broker(&"00".repeat(32))).err(), Some((502, "target_tls".into())));
        let pin = pin.trim().rsplit('=').next().expect("a fingerprint");
        let broker = broker(pin);
        let mut browser = Browser::open(broker.answer["console_url"].as_str().expect("a URL"));
        browser.wait_state("connected");
        browser.type_text("typed on a controller");
        desktop.wait_typed(b"typed on a controller");
        wait_for("the screen", || (browser.screen().ink() > 0).then_some(()));
        browser.shot("ikvm");
        assert_eq!(browser.errors(), Vec::<Value>::new());
        assert_eq!(gateway.metric("portcullis_target_tls_total{trust=\"pin\"}"), 1.0);
    });
}
