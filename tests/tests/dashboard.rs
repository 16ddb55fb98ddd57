//! The operators' page, in a real browser: what it shows comes by itself, what it does is done, and it stays
//! quick with thousands.

use std::thread;

use portcullis_tests::browser::{self, Browser, Look};
use portcullis_tests::gateway::{ADDRESS, Broker, Gateway};
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::target::Target;
use portcullis_tests::websocket::{Socket, closed, echoes, open};
use portcullis_tests::{require, wait_for};
use serde_json::{Value, json};

const DESK: Look = Look { phone: false, dark: false, language: "en-US" };
const PHONE: Look = Look { phone: true, dark: true, language: "zh-CN" };

fn all_is_here() -> bool {
    require::kernel() && require::pages() && browser::is_here()
}

/// A gateway with its page in front of somebody who has not shown a key yet.
struct Desk {
    folder: tempfile::TempDir,
    gateway: Gateway,
    browser: Browser,
}

impl Desk {
    fn new(look: Look) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let gateway = Gateway::start(folder.path(), "ebpf", &["broker.ttl_s = 86400"]);
        let mut browser = Browser::open("about:blank");
        browser.reopen(&gateway.ready("api"), look);
        browser.wait_state("login");
        Self { folder, gateway, browser }
    }

    fn enter(&mut self) {
        self.browser.fill("#key", &self.gateway.api().key);
        self.browser.click("#login");
        self.browser.wait_state("ready");
    }

    fn look_at(&mut self, part: &str) {
        let url = self.gateway.ready("api");
        self.browser.goto(&format!("{url}/#{part}"));
    }

    /// Of the whole table, those in the page.
    fn rows(&mut self, part: &str) -> u64 {
        self.browser.count(&format!("#{part}-view .rows [role=row]"))
    }

    fn wait_rows(&mut self, part: &str, count: u64) {
        wait_for(&format!("{count} rows of {part}"), || (self.rows(part) == count).then_some(()));
    }

    /// What the browser says of the wrong key that was shown on purpose is no fault.
    fn is_without_fault(&mut self) {
        assert_eq!(self.browser.faults(), Vec::<Value>::new());
    }
}

/// A session in front of a target that sends everything back.
fn session(gateway: &Gateway, instance_id: &str) -> (Broker, Socket) {
    let broker = gateway.open_again(instance_id);
    let mut socket = open(&broker).expect("a session");
    echoes(&mut socket, b"hello");
    (broker, socket)
}

fn add_instance(gateway: &Gateway, id: &str, port: u16) {
    let body = json!({ "host": "127.0.0.1", "graphics_port": port, "graphics_protocol": "serial" });
    assert_eq!(gateway.api().put(&format!("/v1/instances/{id}"), &body).0, 201);
}

#[test]
fn the_key_is_asked_for_and_kept_out_of_the_address() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let mut desk = Desk::new(DESK);
        let key = desk.gateway.api().key.clone();
        for wrong in ["wrong", "ключ"] {
            desk.browser.fill("#key", wrong);
            desk.browser.click("#login");
            desk.browser.wait_text("#login-problem", "This is not the API key of this gateway.");
        }
        desk.enter();
        assert!(desk.browser.tabs().iter().all(|address| !address.contains(&key)));
        desk.browser.reload();
        desk.browser.wait_state("ready");
        desk.browser.click("#leave");
        desk.browser.wait_state("login");
        desk.browser.reload();
        desk.browser.wait_state("login");
        desk.is_without_fault();
        let audit = std::fs::read_to_string(desk.folder.path().join("state/audit.log")).expect("a file");
        assert!(!desk.gateway.log().contains(&key) && !audit.contains(&key), "the key is in a log");
    });
}

#[test]
fn what_happens_appears_by_itself_and_what_is_asked_is_done() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let mut desk = Desk::new(DESK);
        let port = Target::new().echo();
        add_instance(&desk.gateway, "i-1", port);
        desk.enter();
        desk.look_at("brokers");
        desk.browser.wait_text("#brokers-view .empty", "No broker is open.");

        let (broker, mut socket) = session(&desk.gateway, "i-1");
        desk.wait_rows("brokers", 1);
        desk.browser.wait_text("#brokers-view .rows .endpoint", &broker.endpoint.to_string());
        desk.browser.wait_text("#brokers-view .rows .expires_at", "in use");
        desk.browser.wait_text("#sessions-count", "1");

        // A person who thinks better of it changes nothing.
        desk.look_at("sessions");
        desk.wait_rows("sessions", 1);
        desk.browser.click("#sessions-view .rows button");
        assert_eq!(desk.browser.focused(), "dialog-no");
        desk.browser.click("#dialog-no");
        echoes(&mut socket, b"still here");
        desk.browser.wait_text("#sessions-view .rows .up_bytes", "15 B");

        desk.browser.click("#sessions-view .rows button");
        desk.browser.click("#dialog-yes");
        assert_eq!(closed(&mut socket).expect("a close code").0, 4001);
        desk.wait_rows("sessions", 0);
        desk.browser.wait_text("#toast", "The session at i-1 was killed.");
        desk.look_at("past");
        desk.browser.wait_text("#past-view .rows .end_reason", "killed by an operator");

        let other = desk.gateway.open_again("i-1");
        desk.look_at("brokers");
        desk.browser.fill("#brokers-search", &other.id);
        desk.wait_rows("brokers", 1);
        desk.browser.click("#brokers-view .rows button");
        desk.browser.click("#dialog-yes");
        desk.wait_rows("brokers", 0);
        assert_eq!(desk.gateway.api().get(&format!("/v1/brokers/{}", other.id)).0, 404);

        desk.look_at("overview");
        for (event, words) in [
            ("broker_opened", "Broker opened"),
            ("session_began", "Session began"),
            ("session_killed", "Session killed"),
            ("broker_closed", "Broker closed"),
        ] {
            wait_for(words, || (desk.browser.count(&format!("#events .{event}")) > 0).then_some(()));
        }
        desk.is_without_fault();
    });
}

#[test]
fn a_console_opens_in_a_tab_of_its_own() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let mut desk = Desk::new(DESK);
        add_instance(&desk.gateway, "i-1", 1);
        desk.enter();
        desk.look_at("instances");
        desk.wait_rows("instances", 1);
        desk.browser.click("#instances-view .rows button");
        // The page has taken the ticket out of its address.
        let console = wait_for("the console's page", || {
            let tab = desk.browser.tabs().into_iter().nth(1)?;
            (tab.starts_with("http://127.0.80.1:") && !tab.contains("token")).then_some(tab)
        });
        let (_, brokers) = desk.gateway.api().get("/v1/brokers");
        let port = &brokers["items"][0]["broker_port"];
        assert_eq!(console, format!("http://127.0.80.1:{port}/"));

        // An instance that went away between two looks is told in words, and no empty tab is left.
        desk.browser.ask(&json!({ "do": "refuse", "path": "/v1/brokers", "status": 404, "body": {
            "code": "no_instance", "detail": "there is no instance i-1", "status": 404,
        } }));
        desk.browser.click("#instances-view .rows button");
        desk.browser.wait_text("#dialog-problem", "This instance does not exist any more.");
        assert_eq!(desk.browser.tabs().len(), 2);
        desk.is_without_fault();
    });
}

#[test]
fn a_gateway_that_was_away_is_read_anew() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let start = || {
            // A port of its own choice would be another one the next time; the namespace has nobody else.
            Gateway::start_by(
                folder.path(),
                &[ADDRESS],
                "ebpf",
                &["broker.ttl_s = 86400"],
                |mut command, _| {
                    command.env("PORTCULLIS_API_LISTEN", "127.0.0.1:8700");
                    command
                },
            )
        };
        let mut gateway = start();
        add_instance(&gateway, "i-1", 1);
        let mut browser = Browser::open(&format!("{}/#brokers", gateway.ready("api")));
        browser.fill("#key", &gateway.api().key);
        browser.click("#login");
        browser.wait_state("ready");
        gateway.end(nix::sys::signal::Signal::SIGKILL);
        browser.wait_state("away");
        browser.wait_text("#connection", "No answer");

        let gateway = start();
        gateway.open_again("i-1");
        browser.wait_state("ready");
        wait_for("the broker", || (browser.count("#brokers-view .rows [role=row]") == 1).then_some(()));
        assert_eq!(browser.faults(), Vec::<Value>::new());
    });
}

/// All ports of the default range but one.
const BROKERS: usize = 5_000;
const SESSIONS: usize = 1_000;
const CALLERS: usize = 8;
/// What is in view of any table, with room to spare.
const ROWS_MAX: u64 = 60;

fn open_many(gateway: &Gateway, count: usize) {
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let api = gateway.api().clone().kept();
                for _ in 0..count / CALLERS {
                    let (status, answer) = api.post("/v1/brokers", &json!({ "instance_id": "i-many" }));
                    assert_eq!(status, 201, "{answer}");
                }
            });
        }
    });
}

#[test]
fn thousands_do_not_slow_it_down() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let mut desk = Desk::new(DESK);
        let port = Target::new().echo();
        for id in ["i-many", "i-live", "i-needle"] {
            add_instance(&desk.gateway, id, port);
        }
        let sessions: Vec<_> = (0..SESSIONS).map(|_| session(&desk.gateway, "i-live")).collect();
        let needle = desk.gateway.open_again("i-needle");
        open_many(&desk.gateway, 4_000 - SESSIONS - 1 - 7);
        desk.enter();
        desk.look_at("brokers");
        let first = desk.gateway.api().get("/v1/status").1["brokers_open"].to_string();
        desk.browser.wait_text("#brokers-view .count", &first);

        // More come while it looks, with an event each.
        open_many(&desk.gateway, BROKERS - 4_000);
        let all = desk.gateway.api().get("/v1/status").1["brokers_open"].to_string();
        desk.browser.wait_text("#brokers-count", &all);
        wait_for("all of them in the table", || {
            (desk.browser.text("#brokers-view .count") == all).then_some(())
        });
        assert!((1..ROWS_MAX).contains(&desk.rows("brokers")));

        desk.browser.fill("#brokers-search", "i-needle");
        desk.browser.wait_text("#brokers-view .rows .broker_id", &needle.id);
        desk.wait_rows("brokers", 1);
        desk.browser.shot("dashboard-many-found");
        desk.browser.fill("#brokers-search", "");
        desk.browser.click("#brokers-view .head .endpoint button");
        desk.browser.scroll_to_end("#brokers-view .rows");
        let last =
            format!("#brokers-view .rows [aria-rowindex=\"{}\"]", all.parse::<u64>().expect("a number") + 1);
        wait_for("the last row", || (desk.browser.count(&last) == 1).then_some(()));
        assert!((1..ROWS_MAX).contains(&desk.rows("brokers")));
        desk.browser.shot("dashboard-many-brokers");

        desk.look_at("sessions");
        wait_for("all sessions", || {
            (desk.browser.text("#sessions-view .count") == SESSIONS.to_string()).then_some(())
        });
        assert!((1..ROWS_MAX).contains(&desk.rows("sessions")));
        desk.look_at("overview");
        assert!(desk.browser.count("#events li") <= 100);
        desk.browser.shot("dashboard-many-overview");
        desk.is_without_fault();
        drop(sessions);
    });
}

/// Nothing is cut off at the edges of the window.
fn stays_inside(browser: &mut Browser, what: &str) {
    let selector = "#top *, nav a, .tools *, .head *, .card, .card *, dialog, dialog *, .chart";
    let outside = browser.ask(&json!({ "do": "outside", "selector": selector }));
    // Of a row that is half in view the rest is scrolled to; the head stays.
    assert_eq!(outside["outside"], json!([]), "{what}");
}

fn every_part(look: Look, name: &str) {
    in_namespace(|| {
        let mut desk = Desk::new(look);
        let seen = |desk: &mut Desk, part: &str| {
            stays_inside(&mut desk.browser, part);
            desk.browser.shot(&format!("dashboard-{name}-{part}"));
            desk.browser.is_accessible(part);
        };
        seen(&mut desk, "login");
        desk.browser.fill("#key", "wrong");
        desk.browser.click("#login");
        wait_for("the problem", || desk.browser.shows("#login-problem").then_some(()));
        seen(&mut desk, "wrong-key");
        desk.enter();
        for part in ["overview", "sessions", "past", "brokers", "instances"] {
            desk.look_at(part);
            if part != "overview" {
                wait_for("words", || desk.browser.shows(&format!("#{part}-view .empty")).then_some(()));
            }
            seen(&mut desk, &format!("empty-{part}"));
        }

        let port = Target::new().echo();
        let ids: Vec<_> = (0..24).map(|number| format!("i-{:08x}", number * 0x0b5a_d4c1_u64)).collect();
        ids.iter().for_each(|id| add_instance(&desk.gateway, id, port));
        let mut sessions: Vec<_> = ids.iter().take(12).map(|id| session(&desk.gateway, id)).collect();
        ids.iter().skip(12).for_each(|id| drop(desk.gateway.open_again(id)));
        drop(sessions.split_off(9));
        for (_, socket) in &mut sessions {
            echoes(socket, &[7; 100_000]);
        }
        for (part, rows) in
            [("overview", 0), ("sessions", 9), ("past", 3), ("brokers", 12), ("instances", 12)]
        {
            desk.look_at(part);
            if rows > 0 {
                wait_for(part, || (desk.rows(part) >= rows).then_some(()));
            } else {
                wait_for("events", || (desk.browser.count("#events .session_ended") == 3).then_some(()));
                desk.browser.wait_text("#sessions-count", "9");
                // A rate needs an answer more than a level.
                wait_for("all curves", || (desk.browser.count(".plot .line") == 6).then_some(()));
            }
            seen(&mut desk, part);
        }
        desk.look_at("sessions");
        desk.browser.click("#sessions-view .rows [aria-rowindex=\"2\"] button");
        seen(&mut desk, "dialog");
        desk.is_without_fault();
    });
}

#[test]
fn every_part_is_fit_for_people_on_a_desk() {
    if all_is_here() {
        every_part(DESK, "desk-light-en");
        every_part(Look { dark: true, language: "zh-CN", ..DESK }, "desk-dark-zh");
    }
}

#[test]
fn every_part_is_fit_for_people_on_a_phone() {
    if all_is_here() {
        every_part(PHONE, "phone-dark-zh");
        every_part(Look { dark: false, language: "en-US", ..PHONE }, "phone-light-en");
    }
}
