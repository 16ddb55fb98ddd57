//! Brokers for viewing only: the picture comes, and whatever a client sends does nothing.

use std::io::{Read, Write};
use std::net::TcpStream;

use portcullis_tests::browser::{self, Browser};
use portcullis_tests::gateway::{Broker, Gateway};
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::qemu::{self, Machine, same_picture};
use portcullis_tests::target::{Target, bounded};
use portcullis_tests::{behind_every_gate, require, wait_for};
use serde_json::json;

behind_every_gate!(only_looking_reaches_the_console);

/// A broker for viewing, to which a native client may come from loopback.
fn open(gateway: &Gateway, instance_id: &str) -> Broker {
    let wish = json!({
        "instance_id": instance_id, "client": "127.0.0.0/24", "native": true, "view_only": true,
    });
    let (status, answer) = gateway.api().post("/v1/brokers", &wish);
    assert_eq!(status, 201, "{answer}");
    assert_eq!(answer["view_only"], true, "{answer}");
    Broker::read(answer)
}

/// A viewer behind its handshake, ClientInit said.
fn view(broker: &Broker) -> TcpStream {
    let mut viewer = TcpStream::connect(broker.endpoint).expect("connects");
    bounded(&viewer);
    let mut said = [0; 12];
    viewer.read_exact(&mut said).expect("a version");
    assert_eq!(&said, b"RFB 003.008\n");
    viewer.write_all(b"RFB 003.008\n").expect("writes");
    let mut offered = [0; 2];
    viewer.read_exact(&mut offered).expect("security");
    assert_eq!(offered, [1, 1]);
    viewer.write_all(&[1]).expect("writes");
    viewer.read_exact(&mut [0; 4]).expect("a result");
    viewer.write_all(&[1]).expect("writes");
    viewer
}

/// FramebufferUpdateRequest of one pixel; a key that goes down; one of the pointer; text that was copied.
const LOOK: [u8; 10] = [3, 0, 0, 0, 0, 0, 0, 1, 0, 1];
const KEY: [u8; 8] = [4, 1, 0, 0, 0, 0, 0, b'c'];
const POINTER: [u8; 6] = [5, 1, 0, 9, 0, 9];
const COPIED: &[u8] = b"\x06\0\0\0\0\0\0\x04text";

fn only_looking_reaches_the_console(backend: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), backend, &[]);
    let target = Target::new();
    gateway.add_instance("i-view", target.port());
    let broker = open(&gateway, "i-view");
    let console = target.serve(|mut stream| {
        stream.write_all(b"RFB 003.008\n").expect("writes");
        stream.read_exact(&mut [0; 12]).expect("a version");
        stream.write_all(&[1, 1]).expect("writes");
        stream.read_exact(&mut [0; 1]).expect("a choice");
        stream.write_all(&[0; 4]).expect("writes");
        let mut heard = Vec::new();
        // The gateway may leave with bytes unread, which is a reset.
        let _ = stream.read_to_end(&mut heard);
        heard
    });
    let mut viewer = view(&broker);
    for message in [&KEY[..], &POINTER, COPIED, &LOOK, &KEY, &LOOK] {
        viewer.write_all(message).expect("writes");
    }
    // One that nobody knows the length of ends it.
    viewer.write_all(&[77]).expect("writes");
    gateway.wait_metric("portcullis_connection_ends_total{end=\"protocol_error\"}", 1.0);
    assert_eq!(console.join().expect("serves"), [&[1][..], &LOOK, &LOOK].concat());
    // For what is no VNC there is no such thing.
    gateway.add_instance_speaking("i-spice", "spice", 5900);
    let wish = json!({ "instance_id": "i-spice", "view_only": true });
    assert_eq!(gateway.api().post("/v1/brokers", &wish).0, 400);
}

#[test]
fn a_real_machine_is_seen_and_not_touched() {
    if !require::kernel() || !require::pages() || !qemu::is_here() || !browser::is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut machine = Machine::start_with_password(folder.path(), "secret12");
        let gateway = Gateway::start(folder.path(), "ebpf", &[]);
        let instance = json!({
            "host": "127.0.0.1", "graphics_port": machine.vnc_port, "graphics_protocol": "vnc",
            "graphics_passwd": "secret12",
        });
        assert_eq!(gateway.api().put("/v1/instances/i-view", &instance).0, 201);
        let broker = open(&gateway, "i-view");
        let mut browser = Browser::open(broker.answer["console_url"].as_str().expect("a URL"));
        browser.wait_state("connected");
        same_picture(&mut machine, || browser.screen());
        let menu = machine.screen();
        // The page knows, and a client that does not care is held to it. "c" would open GRUB's command line.
        browser.wait_for("[data-view-only=true]");
        let mut viewer = view(&broker);
        viewer.read_exact(&mut [0; 24]).expect("ServerInit");
        for _ in 0..5 {
            viewer.write_all(&KEY).expect("writes");
            viewer.write_all(&LOOK).expect("writes");
        }
        wait_for("pictures", || (viewer.read(&mut [0; 64]).ok()? > 0).then_some(()));
        assert!(machine.screen().likeness(&menu) > 0.99, "a key went through");
        drop(viewer);
        same_picture(&mut machine, || browser.screen());
        browser.shot("view-only");
    });
}
