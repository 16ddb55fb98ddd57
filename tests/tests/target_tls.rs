//! TLS to a console: who is believed there, and that nothing goes in the clear instead.

use portcullis::broker::target::tls::Fingerprint;
use portcullis_tests::gateway::{Broker, Gateway};
use portcullis_tests::target::Target;
use portcullis_tests::tls::{Authority, front};
use portcullis_tests::websocket::{echoes, open};
use portcullis_tests::{behind_every_gate, transfer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

behind_every_gate!(
    a_console_is_believed_for_the_reason_that_is_given,
    every_byte_of_4_mib_arrives_both_ways,
    tls_inside_of_a_protocol_is_never_left_out,
);

/// A gateway that trusts an authority, which made the certificate of all consoles.
struct Bench {
    folder: tempfile::TempDir,
    gateway: Gateway,
    pin: String,
}

fn bench(backend: &str, more: &[&str]) -> Bench {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path());
    authority.issue(&["console.example"]);
    let ca = format!("targets.ca = {:?}", authority.file());
    let gateway = Gateway::start(folder.path(), backend, &[&[ca.as_str()], more].concat());
    let certificate = CertificateDer::from_pem_file(folder.path().join("certificate"));
    let pin = Fingerprint::of(&certificate.expect("a certificate")).to_string();
    Bench { folder, gateway, pin }
}

impl Bench {
    /// A broker for the console at `port`, which speaks TLS from its first byte, and whose instance says `tls`
    /// of it.
    fn broker(&self, port: u16, tls: &Value) -> Broker {
        let port = front(self.folder.path(), port);
        let mut instance =
            json!({ "host": "127.0.0.1", "graphics_port": port, "graphics_protocol": "spice" });
        instance.as_object_mut().expect("an object").extend(tls.as_object().expect("an object").clone());
        let id = format!("i-{port}");
        let (status, answer) = self.gateway.api().put(&format!("/v1/instances/{id}"), &instance);
        assert_eq!(status, 201, "{answer}");
        self.gateway.open_again(&id)
    }
}

fn a_console_is_believed_for_the_reason_that_is_given(backend: &str) {
    let bench = bench(backend, &["targets.insecure_tls = true"]);
    let (port, wrong) = (Target::new().echo(), "00".repeat(32));
    for (tls, believed) in [
        (json!({ "tls": "ca", "tls_server_name": "console.example" }), true),
        (json!({ "tls": "ca" }), false),
        (json!({ "tls": "pin", "tls_pin": bench.pin }), true),
        (json!({ "tls": "pin", "tls_pin": wrong }), false),
        (json!({ "tls": "insecure" }), true),
    ] {
        match open(&bench.broker(port, &tls)) {
            Ok(mut socket) => {
                assert!(believed, "{tls}");
                echoes(&mut socket, b"hello");
            }
            Err(refusal) => assert_eq!((refusal, believed), ((502, "target_tls".to_owned()), false), "{tls}"),
        }
    }
    for trust in ["ca", "pin", "insecure"] {
        bench.gateway.wait_metric(&format!("portcullis_target_tls_total{{trust=\"{trust}\"}}"), 1.0);
    }
    bench.gateway.wait_metric("portcullis_handshake_refusals_total{code=\"target_tls\"}", 2.0);
    assert!(bench.gateway.log().contains("TLS with a target that anybody could be"));
    let pinned = bench.gateway.api().get("/v1/instances").1["items"].clone();
    let pinned = pinned.as_array().expect("a list").iter().find(|item| item["tls_pin"] == bench.pin.as_str());
    assert!(pinned.is_some_and(|item| item["tls"] == "pin"));
}

fn every_byte_of_4_mib_arrives_both_ways(backend: &str) {
    const TOTAL: u64 = 4 << 20;
    let bench = bench(backend, &[]);
    let target = Target::new();
    let broker = bench.broker(target.port(), &json!({ "tls": "pin", "tls_pin": bench.pin }));
    let far_end = target.serve(|stream| transfer::far_end(stream, TOTAL));
    transfer::run(&broker, TOTAL, &[1, 125, 126, 70_000, 3, 300_000]);
    far_end.join().expect("all bytes");
}

fn tls_inside_of_a_protocol_is_never_left_out(backend: &str) {
    let bench = bench(backend, &[]);
    // RFB in the clear, and nothing else.
    let target = Target::new();
    let instance = json!({
        "host": "127.0.0.1", "graphics_port": target.port(), "graphics_protocol": "vnc",
        "tls": "pin", "tls_pin": bench.pin,
    });
    assert_eq!(bench.gateway.api().put("/v1/instances/i-1", &instance).0, 201);
    let console = target.serve(|mut console| {
        // Who does not want to hear it has left already.
        let _ = std::io::Write::write_all(&mut console, b"RFB 003.008\n\x01\x01");
        let mut said = Vec::new();
        let _ = std::io::Read::read_to_end(&mut console, &mut said);
        said
    });
    let refusal = open(&bench.gateway.open_again("i-1")).expect_err("not in the clear");
    assert_eq!(refusal.0, 502, "{refusal:?}");
    // At most its own version, and no choice of a security type.
    assert!(console.join().expect("a console").len() <= 12);
    // Without permission nobody is believed unseen.
    let broker = bench.broker(Target::new().echo(), &json!({ "tls": "insecure" }));
    assert_eq!(open(&broker).expect_err("not permitted"), (502, "target_tls".to_owned()));
}
