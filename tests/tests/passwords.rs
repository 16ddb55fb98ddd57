//! Passwords of consoles: written and never read back, unless `reveal_passwords` says otherwise.

use std::path::Path;
use std::thread::JoinHandle;

use portcullis_tests::behind_every_gate;
use portcullis_tests::events::Listener;
use portcullis_tests::gateway::{Broker, Gateway};
use portcullis_tests::target::Target;
use portcullis_tests::websocket::open;
use serde_json::{Value, json};

behind_every_gate!(passwords_stay_inside, passwords_are_revealed_to_who_has_the_key_and_nowhere_else);

const PASSWORD: &str = "secret12";

/// Answers of every call that shows an instance or opens a broker.
struct Answers {
    reads: Vec<Value>,
    opens: Vec<Value>,
    others: Vec<Value>,
}

fn answers(gateway: &Gateway, port: u16) -> Answers {
    let api = gateway.api();
    let ok = |(status, answer): (u16, Value)| {
        assert!(matches!(status, 200 | 201), "{status} {answer}");
        answer
    };
    let instance = json!({
        "host": "127.0.0.1", "graphics_port": port, "graphics_protocol": "vnc", "graphics_passwd": PASSWORD,
    });
    let put = ok(api.put("/v1/instances/i-1", &instance));
    let opens = vec![
        ok(api.post("/v1/brokers", &json!({ "instance_id": "i-1" }))),
        ok(api.get("/iaas/?action=CreateBrokers&instances.1=i-1"))["broker_set"][0].clone(),
    ];
    let reads = vec![
        ok(api.get("/v1/instances/i-1")),
        ok(api.get("/v1/instances"))["items"][0].clone(),
        ok(api.get("/iaas/?action=DescribeInstances"))["instance_set"][0].clone(),
    ];
    let others = vec![
        put,
        ok(api.get("/v1/brokers")),
        ok(api.get("/iaas/?action=DescribeBrokers")),
        api.put("/v1/instances/i-1", &json!({ "host": "", "graphics_passwd": PASSWORD })).1,
    ];
    Answers { reads, opens, others }
}

/// A console that is no VNC: a session with it fails with the password at hand.
fn target() -> (u16, JoinHandle<()>) {
    let target = Target::new();
    (target.port(), target.serve(drop))
}

fn is_kept_inside(folder: &Path, gateway: &Gateway, listener: &mut Listener) {
    let audit = std::fs::read_to_string(folder.join("state/audit.log")).expect("a log");
    for text in [&audit, &gateway.log(), &gateway.metrics()] {
        assert!(!text.contains(PASSWORD), "{text}");
    }
    loop {
        let event = listener.event();
        assert!(!event.to_string().contains(PASSWORD), "{event}");
        if event["event"] == "session.refused" {
            return;
        }
    }
}

fn passwords_stay_inside(backend: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), backend, &[]);
    let mut listener = Listener::new(&gateway);
    let (port, console) = target();
    let Answers { reads, opens, others } = answers(&gateway, port);
    for answer in reads.iter().chain(&opens).chain(&others) {
        assert!(!answer.to_string().contains(PASSWORD), "{answer}");
        assert!(answer.get("graphics_passwd").is_none(), "{answer}");
    }
    assert_eq!(open(&Broker::read(opens[0].clone())).err(), Some((502, "target_not_vnc".into())));
    console.join().expect("the console was asked");
    is_kept_inside(folder.path(), &gateway, &mut listener);
    assert!(!gateway.log().contains("reveal_passwords"), "{}", gateway.log());
}

fn passwords_are_revealed_to_who_has_the_key_and_nowhere_else(backend: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), backend, &["reveal_passwords = true"]);
    let mut listener = Listener::new(&gateway);
    let (port, console) = target();
    let Answers { reads, opens, others } = answers(&gateway, port);
    for answer in reads.iter().chain(&opens) {
        assert_eq!(answer["graphics_passwd"], PASSWORD, "{answer}");
    }
    for answer in &others {
        assert!(!answer.to_string().contains(PASSWORD), "{answer}");
    }
    // One without a password has no such field.
    gateway.add_instance("i-2", port);
    assert!(gateway.api().get("/v1/instances/i-2").1.get("graphics_passwd").is_none());
    assert_eq!(open(&Broker::read(opens[0].clone())).err(), Some((502, "target_not_vnc".into())));
    console.join().expect("the console was asked");
    is_kept_inside(folder.path(), &gateway, &mut listener);
    assert!(
        gateway.log().contains("WARN") && gateway.log().contains("reveal_passwords"),
        "{}",
        gateway.log()
    );
    let audit = std::fs::read_to_string(folder.path().join("state/audit.log")).expect("a log");
    let first: Value = serde_json::from_str(audit.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["event"], "passwords.revealed");
}
