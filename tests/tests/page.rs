//! Every state of the page, on a desk and on a phone, light and dark, in both languages: seen by axe-core, and
//! written to `target/screenshots` to be looked at. The gateway serves the page; what the page then asks is
//! answered by a fake, because many of these states are rare.

use portcullis::broker::Refusal;
use portcullis_tests::browser::{self, Browser, Look};
use portcullis_tests::gateway::{Broker, Gateway};
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::{require, wait_for};
use serde_json::{Value, json};

const DESK: Look = Look { phone: false, dark: false, language: "en-US" };
const PHONE: Look = Look { phone: true, dark: true, language: "zh-CN" };

fn all_is_here() -> bool {
    require::kernel() && require::pages() && browser::is_here()
}

/// A state: what the fakes do, what the page says first, what is done then, and what it says in the end.
struct State {
    name: &'static str,
    fake: Value,
    first: &'static str,
    then: Then,
    last: &'static str,
}

enum Then {
    Nothing,
    Click(&'static str),
    Close(u16),
    Vanish,
}

fn granted() -> Value {
    json!({ "body": {
        "instance_id": "i-8snyruit", "graphics_protocol": "vnc", "reconnect_s": 600, "last_refusal": null,
    } })
}

fn states() -> Vec<State> {
    let shown = |name, then, last| State {
        name,
        fake: json!({ "do": "fake", "status": granted() }),
        first: "connected",
        then,
        last,
    };
    let asks = |name, more: Value, first| {
        let mut fake = json!({ "do": "fake", "status": granted() });
        fake.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        State { name, fake, first, then: Then::Nothing, last: first }
    };
    let mut view_only = granted();
    view_only["body"]["view_only"] = true.into();
    vec![
        asks("connecting", json!({ "silent": true }), "connecting"),
        asks("credentials", json!({ "security": 2 }), "credentials"),
        asks("unknown-key", json!({ "security": 6 }), "credentials"),
        asks("view-only", json!({ "status": view_only }), "connected"),
        asks("unreachable", json!({ "status": null }), "reconnecting"),
        shown("connected", Then::Nothing, "connected"),
        shown("hidden-bar", Then::Click("#hide-bar"), "connected"),
        shown("keys", Then::Click("#keys-button"), "connected"),
        shown("clipboard", Then::Click("#clipboard-button"), "connected"),
        shown("settings", Then::Click("#settings-button"), "connected"),
        shown("waiting", Then::Close(1000), "waiting"),
        shown("reconnecting", Then::Vanish, "reconnecting"),
        shown("damaged", Then::Close(1002), "ended"),
        shown("not-text", Then::Close(1007), "ended"),
        shown("machine-lost", Then::Close(1011), "waiting"),
        shown("replaced", Then::Close(4000), "ended"),
        shown("killed", Then::Close(4001), "ended"),
    ]
}

/// Brings the page into a state. The page is a new one, which remembers nothing.
fn enter(browser: &mut Browser, broker: &Broker, state: &State) {
    browser.goto("about:blank");
    browser.ask(&state.fake);
    browser.goto(&format!("http://{}/#token={}", broker.endpoint, broker.token));
    browser.wait_state(state.first);
    match state.then {
        Then::Nothing => {}
        Then::Click(selector) => browser.click(selector),
        Then::Close(code) => {
            // What comes next does not come.
            browser.ask(&json!({ "do": "fake", "status": granted(), "silent": true }));
            browser.ask(&json!({ "do": "fake_close", "code": code }));
        }
        Then::Vanish => {
            browser.ask(&json!({ "do": "fake", "status": null }));
            browser.ask(&json!({ "do": "fake_close", "code": 1001, "reason": "the gateway is stopping" }));
        }
    }
    browser.wait_state(state.last);
}

fn with_a_page(look: Look, body: impl FnOnce(&mut Browser, &Broker) + Send) {
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let gateway = Gateway::start(folder.path(), "ebpf", &[]);
        let broker = gateway.open(1);
        let mut browser = Browser::open("about:blank");
        browser.reopen("about:blank", look);
        body(&mut browser, &broker);
        assert_eq!(browser.faults(), Vec::<Value>::new());
    });
}

fn every_state(look: Look, name: &str) {
    with_a_page(look, |browser, broker| {
        for state in states() {
            enter(browser, broker, &state);
            stays_inside(browser, state.name);
            browser.shot(&format!("{name}-{}", state.name));
            browser.is_accessible(state.name);
        }
    });
}

/// Nothing is cut off at the edges of the window.
fn stays_inside(browser: &mut Browser, what: &str) {
    let outside =
        browser.ask(&json!({ "do": "outside", "selector": "#bar *, .card, .panel, .panel button" }));
    assert_eq!(outside["outside"], json!([]), "{what}");
}

#[test]
fn every_state_is_fit_for_people_on_a_desk() {
    if all_is_here() {
        every_state(DESK, "desk-light-en");
    }
}

#[test]
fn every_state_is_fit_for_people_on_a_phone() {
    if all_is_here() {
        every_state(PHONE, "phone-dark-zh");
    }
}

#[test]
fn every_refusal_is_told_in_words() {
    if !all_is_here() {
        return;
    }
    with_a_page(Look { phone: true, ..DESK }, |browser, broker| {
        browser.ask(&json!({ "do": "fake", "status": granted() }));
        browser.goto(&format!("http://{}/", broker.endpoint));
        for refusal in Refusal::ALL {
            let (status, code) = refusal.answer();
            let body = json!({ "code": code, "message": refusal.to_string() });
            browser.ask(&json!({ "do": "fake", "status": { "code": status, "body": body } }));
            browser.goto(&format!("http://{}/#token={code}", broker.endpoint));
            wait_for(&format!("{code} to be told"), || {
                (browser.text("#detail") == format!("{code}, HTTP {status}")).then_some(())
            });
            assert!(
                !browser.text("#text").contains(&refusal.to_string()),
                "{code} is told by the page itself"
            );
            stays_inside(browser, code);
            browser.shot(&format!("refusal-{code}"));
        }
        browser.is_accessible("a refusal");
    });
}

#[test]
fn the_other_colours_and_languages_are_as_good() {
    if !all_is_here() {
        return;
    }
    for (look, name) in [
        (Look { dark: true, language: "zh-CN", ..DESK }, "desk-dark-zh"),
        (Look { dark: false, language: "en-US", ..PHONE }, "phone-light-en"),
    ] {
        with_a_page(look, |browser, broker| {
            for state in states().iter().filter(|state| ["keys", "settings", "waiting"].contains(&state.name))
            {
                enter(browser, broker, state);
                stays_inside(browser, state.name);
                browser.shot(&format!("{name}-{}", state.name));
                browser.is_accessible(state.name);
            }
        });
    }
}

/// A network that goes away ends no connection.
#[test]
fn a_gateway_that_is_silent_is_noticed() {
    if !all_is_here() {
        return;
    }
    with_a_page(DESK, |browser, broker| {
        let states = states();
        enter(browser, broker, states.iter().find(|state| state.name == "connected").expect("a state"));
        browser.ask(&json!({ "do": "fake", "status": null }));
        browser.wait_state("reconnecting");
        assert!(browser.text("#detail").contains("1006"), "{}", browser.text("#detail"));
        browser.ask(&json!({ "do": "fake", "status": granted() }));
        browser.wait_state("connected");
    });
}

#[test]
fn the_language_changes_in_place() {
    if !all_is_here() {
        return;
    }
    with_a_page(DESK, |browser, broker| {
        let states = states();
        let waiting = states.iter().find(|state| state.name == "waiting").expect("a state");
        enter(browser, broker, waiting);
        let english = browser.text("#title");
        browser.click("#settings-button");
        browser.ask(&json!({ "do": "select", "selector": "#language", "value": "zh" }));
        assert_ne!(browser.text("#title"), english);
        assert_eq!(browser.text("#stop"), "停止重试");

        // A link that is opened in the same window may name one too.
        browser.ask(&json!({ "do": "fake", "status": granted() }));
        browser.goto(&format!("http://{}/#token=0&lang=en", broker.endpoint));
        browser.wait_state("connected");
        assert_eq!(browser.text("#state"), "Connected");
    });
}
