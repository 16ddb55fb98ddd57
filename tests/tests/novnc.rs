//! The flow that the gateway takes the place of: a back end makes the call that it always made, and noVNC as
//! Debian ships it, from a server of its own, shows the screen of a real machine.

use std::path::Path;

use portcullis_tests::browser::{self, Browser};
use portcullis_tests::files;
use portcullis_tests::gateway::{Gateway, agent, call};
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::qemu::{self, Machine, same_picture};
use portcullis_tests::{require, wait_for};
use serde_json::{Value, json};

const NOVNC: &str = "/usr/share/novnc";
const CANVAS: &str = "#noVNC_container canvas";

fn all_is_here() -> bool {
    let page = require::file("/usr/share/novnc/vnc.html", "novnc");
    page && require::kernel() && browser::is_here() && qemu::is_here()
}

/// The call of the flow, by GET or as a form by POST, and its four fields.
fn create(gateway: &Gateway, by_form: bool, more: &str) -> Value {
    let query = format!("action=CreateBrokers&instances.1=i-8snyruit{more}");
    let url = format!("{}/iaas/", gateway.api().url);
    let key = &gateway.api().key;
    let (status, text) = if by_form {
        let form = agent().post(url).content_type("application/x-www-form-urlencoded");
        call(form.header("X-API-Key", key).send(query))
    } else {
        call(agent().get(format!("{url}?{query}")).header("X-API-Key", key).call())
    };
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((status, &answer["ret_code"]), (200, &json!(0)), "{answer}");
    let broker = answer["broker_set"][0].clone();
    for name in ["broker_host", "broker_ip", "instance_id"] {
        assert!(broker[name].is_string(), "{name}: {broker}");
    }
    assert_eq!(broker["instance_id"], "i-8snyruit");
    assert!(broker["broker_port"].as_u64().is_some_and(|port| (10_000..=15_000).contains(&port)), "{broker}");
    broker
}

#[test]
fn stock_novnc_shows_the_machine_of_the_old_call() {
    if all_is_here() {
        in_namespace(check);
    }
}

fn check() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut machine = Machine::start(folder.path());
    let gateway = Gateway::start(folder.path(), "ebpf", &[]);
    let body = json!({ "host": "127.0.0.1", "graphics_port": machine.vnc_port, "graphics_protocol": "vnc" });
    assert_eq!(gateway.api().put("/v1/instances/i-8snyruit", &body).0, 201);
    let front_end = files::serve(Path::new(NOVNC));
    let page = |broker: &Value, path: &str| {
        let (host, port) = (broker["broker_host"].as_str().expect("text"), &broker["broker_port"]);
        format!("http://{front_end}/vnc.html?autoconnect=1&host={host}&port={port}&path={path}")
    };

    // With a ticket in the path; `?` and `=` as noVNC wants them.
    let broker = create(&gateway, false, "");
    let token = broker["token"].as_str().expect("text");
    let mut browser = Browser::open(&page(&broker, &format!("websockify%3Ftoken%3D{token}")));
    browser.wait_for(CANVAS);
    wait_for("GRUB's menu", || (machine.screen().ink() > 5_000).then_some(()));
    // It stops the countdown.
    browser.press_in(CANVAS, "ArrowDown");
    let menu = same_picture(&mut machine, || browser.screen_in(CANVAS));
    browser.press_in(CANVAS, "c");
    wait_for("the page to show what the key did", || {
        (same_picture(&mut machine, || browser.screen_in(CANVAS)).likeness(&menu) < 0.99).then_some(())
    });
    assert_eq!(gateway.metric("portcullis_connections_active"), 1.0);
    assert!(gateway.metric("portcullis_filter_packets_total{verdict=\"open\"}") > 0.0);

    // Without any, on a broker that needs none from this address: the front end stays as it was.
    let broker = create(&gateway, true, "&tickets=optional&client=127.0.0.1");
    browser.ask(&json!({ "do": "goto", "url": page(&broker, "websockify") }));
    browser.wait_for(CANVAS);
    same_picture(&mut machine, || browser.screen_in(CANVAS));
    gateway.wait_metric("portcullis_connections_active", 1.0);
    assert_eq!(gateway.metric("portcullis_sessions_total{protocol=\"vnc\"}"), 2.0);
    // And one without a ticket that needs it is told so, and nothing is shown.
    let broker = create(&gateway, false, "");
    browser.ask(&json!({ "do": "goto", "url": page(&broker, "websockify") }));
    wait_for("the refusal", || {
        (gateway.metric("portcullis_handshake_refusals_total{code=\"no_ticket\"}") >= 1.0).then_some(())
    });
    assert!(!gateway.log().contains(token), "a ticket is in the log");
}
