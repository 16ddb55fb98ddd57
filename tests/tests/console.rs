//! End to end: a real machine, a real browser, our page between them.

use nix::sys::signal::Signal;
use portcullis_tests::browser::{self, Browser};
use portcullis_tests::console::Console;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::qemu::{self, Machine, same_picture};
use portcullis_tests::target::Target;
use portcullis_tests::websocket::open;
use portcullis_tests::{require, wait_for};

fn all_is_here() -> bool {
    require::kernel() && require::pages() && browser::is_here() && qemu::is_here()
}

fn console_url(broker: &portcullis_tests::gateway::Broker) -> String {
    broker.answer["console_url"].as_str().expect("a URL").to_owned()
}

#[test]
fn the_browser_shows_the_screen_of_the_machine() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut machine = Machine::start(folder.path());
        let gateway = Gateway::start(folder.path(), "ebpf", &[]);
        let broker = gateway.open(machine.vnc_port);
        let mut browser = Browser::open(&console_url(&broker));
        browser.wait_state("connected");

        // The ticket is out of the address bar, and what is left shows nothing of it.
        assert_eq!(browser.address(), format!("http://{}/", broker.endpoint));

        // A key stops the menu's countdown, which would change the picture while it is compared.
        wait_for("GRUB's menu", || (machine.screen().ink() > 5_000).then_some(()));
        browser.press("ArrowDown");
        let menu = wait_for("the menu to stand still", || {
            let once = same_picture(&mut machine, || browser.screen());
            let again = same_picture(&mut machine, || browser.screen());
            (again == once).then_some(again)
        });
        browser.shot("real-menu");

        // A key changes the screen of the machine, and with it the page.
        browser.press("c");
        wait_for("the page to show what the key did", || {
            (same_picture(&mut machine, || browser.screen()).likeness(&menu) < 0.99).then_some(())
        });

        browser.shot("real-connected");
        assert_eq!(browser.errors(), Vec::<serde_json::Value>::new());
        assert_eq!(gateway.metric("portcullis_connections_active"), 1.0);
        assert!(gateway.metric("portcullis_filter_packets_total{verdict=\"open\"}") > 0.0);
        assert!(!gateway.log().contains(&broker.token), "a ticket is in the log");
    });
}

#[test]
fn the_page_says_what_is_wrong() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let gateway = Gateway::start(folder.path(), "ebpf", &[]);
        let dead = Target::new();
        let port = dead.port();
        drop(dead);
        let broker = gateway.open(port);
        let mut browser = Browser::open(&console_url(&broker));
        browser.wait_state("waiting");
        assert!(browser.text("#detail").contains("target_refused"), "{}", browser.text("#detail"));
        browser.click("#stop");
        browser.wait_state("failed");

        let wrong = format!("http://{}/#token={}", broker.endpoint, "0".repeat(64));
        browser.goto(&wrong);
        wait_for("the wrong ticket to be named", || {
            browser.text("#detail").contains("wrong_ticket").then_some(())
        });

        let none = format!("http://{}/", broker.endpoint);
        browser.goto(&none);
        wait_for("the missing ticket to be named", || {
            browser.text("#detail").contains("no_ticket").then_some(())
        });
        assert_eq!(browser.faults(), Vec::<serde_json::Value>::new());
    });
}

#[test]
fn the_page_comes_back_to_gateway_and_machine() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let start = || Gateway::start(folder.path(), "ebpf", &["session.reconnect_s = 120"]);
        let mut machine = Machine::start(folder.path());
        let mut gateway = start();
        let broker = gateway.open(machine.vnc_port);
        let mut browser = Browser::open(&console_url(&broker));
        browser.wait_state("connected");

        gateway.signal(Signal::SIGKILL);
        gateway.ended();
        browser.wait_state("reconnecting");
        browser.shot("real-reconnecting");
        let gateway = start();
        browser.wait_state("connected");
        shows_the_menu(&mut machine, &mut browser);

        let port = machine.vnc_port;
        drop(machine);
        browser.wait_state("waiting");
        browser.shot("real-waiting");
        let mut machine = Machine::start_at(folder.path(), port);
        browser.wait_state("connected");
        shows_the_menu(&mut machine, &mut browser);

        // Who does not want to wait may stop, and come back by hand.
        drop(machine);
        browser.wait_state("waiting");
        browser.click("#stop");
        browser.wait_state("ended");
        browser.shot("real-ended");
        let mut machine = Machine::start_at(folder.path(), port);
        browser.click("#again");
        browser.wait_state("connected");
        shows_the_menu(&mut machine, &mut browser);

        let (status, _) = gateway.api().delete(&format!("/v1/brokers/{}", broker.id));
        assert_eq!(status, 204);
        browser.wait_state("ended");
        assert_eq!(browser.text("#title"), "This console was closed");
        assert_eq!(browser.faults(), Vec::<serde_json::Value>::new());
    });
}

#[test]
fn the_page_tells_a_newer_window_from_an_operator() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let machine = Machine::start(folder.path());
        let gateway = Gateway::start(folder.path(), "ebpf", &[]);
        let broker = gateway.open(machine.vnc_port);
        let mut browser = Browser::open(&console_url(&broker));
        browser.wait_state("connected");

        let newer = open(&broker).expect("takes the place");
        browser.wait_state("ended");
        assert!(browser.text("#detail").contains("4000"), "{}", browser.text("#detail"));
        browser.click("#again");
        browser.wait_state("connected");
        drop(newer);

        let (_, sessions) = gateway.api().get("/v1/sessions?state=live");
        let session = sessions["items"][0]["session_id"].as_str().expect("a session").to_owned();
        assert_eq!(gateway.api().delete(&format!("/v1/sessions/{session}")).0, 204);
        browser.wait_state("ended");
        assert!(browser.text("#detail").contains("4001"), "{}", browser.text("#detail"));
        assert!(!browser.shows("#again"), "the ticket is good for nothing any more");
        assert_eq!(browser.errors(), Vec::<serde_json::Value>::new());
    });
}

#[test]
fn the_page_does_not_wait_longer_than_its_session() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let machine = Machine::start(folder.path());
        let gateway = Gateway::start(folder.path(), "ebpf", &["session.reconnect_s = 3"]);
        let broker = gateway.open(machine.vnc_port);
        let mut browser = Browser::open(&console_url(&broker));
        browser.wait_state("connected");
        drop(machine);
        browser.wait_state("ended");
        browser.shot("real-gave-up");
        gateway.wait_metric("portcullis_brokers{state=\"open\"}", 0.0);
        browser.click("#again");
        wait_for("the page to say so", || {
            (browser.text("#title") == "It is too late to come back").then_some(())
        });
        assert!(!browser.shows("#again"));
        assert_eq!(browser.faults(), Vec::<serde_json::Value>::new());
    });
}

#[test]
fn a_console_without_tickets_needs_none_in_its_link() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let machine = Machine::start(folder.path());
        let gateway = Gateway::start(folder.path(), "ebpf", &[]);
        gateway.add_instance("i-open", machine.vnc_port);
        let wish = serde_json::json!({
            "instance_id": "i-open", "tickets": "optional", "client": "127.0.0.0/8",
        });
        let (status, answer) = gateway.api().post("/v1/brokers", &wish);
        assert_eq!(status, 201, "{answer}");
        let broker = portcullis_tests::gateway::Broker::read(answer);
        let mut browser = Browser::open(&format!("http://{}/", broker.endpoint));
        browser.wait_state("connected");
        assert_eq!(browser.errors(), Vec::<serde_json::Value>::new());
    });
}

/// Waits for GRUB's menu on both sides, with its countdown stopped.
fn shows_the_menu(machine: &mut Machine, browser: &mut Browser) {
    wait_for("GRUB's menu", || (machine.screen().ink() > 5_000).then_some(()));
    browser.press("ArrowDown");
    same_picture(machine, || browser.screen());
}

#[test]
fn the_password_of_the_machine_stays_inside() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut machine = Machine::start_with_password(folder.path(), "secret12");
        let gateway = Gateway::start(folder.path(), "ebpf", &[]);
        let put = |password: &str| {
            let body = serde_json::json!({
                "host": "127.0.0.1", "graphics_port": machine.vnc_port, "graphics_protocol": "vnc",
                "graphics_passwd": password,
            });
            let (status, answer) = gateway.api().put("/v1/instances/i-locked", &body);
            assert!(matches!(status, 200 | 201), "{answer}");
        };
        put("wrong");
        let broker = gateway.open_again("i-locked");
        assert_eq!(open(&broker).err(), Some((502, "target_password".into())));
        put("secret12");
        let mut browser = Browser::open(&console_url(&broker));
        browser.wait_state("connected");
        wait_for("GRUB's menu", || (machine.screen().ink() > 5_000).then_some(()));
        browser.press("ArrowDown");
        same_picture(&mut machine, || browser.screen());
        assert_eq!(browser.errors(), Vec::<serde_json::Value>::new());
        for text in [gateway.log(), gateway.api().get("/v1/instances").1.to_string()] {
            assert!(!text.contains("secret12"), "{text}");
        }
    });
}

/// The gateway does not try again before its time is over; a try before that would be told the same.
#[test]
fn a_try_that_is_of_no_use_is_not_offered() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let gateway = Gateway::start(folder.path(), "ebpf", &[]);
        let console = Console::start();
        let body = serde_json::json!({
            "host": "127.0.0.1", "graphics_port": console.port(), "graphics_protocol": "vnc",
            "graphics_passwd": "wrong",
        });
        assert_eq!(gateway.api().put("/v1/instances/i-locked", &body).0, 201);
        let broker = gateway.open_again("i-locked");
        let mut browser = Browser::open(&console_url(&broker));
        browser.wait_state("failed");
        browser.wait_text("#progress", "You may try again in");
        assert_eq!(browser.count("#again:disabled"), 1);
        browser.shot("real-held");
        browser.is_accessible("a try that is kept back");

        // The click waits until the button may be pressed, and then somebody has put it right.
        console.let_in(true);
        browser.click("#again");
        wait_for("the next try", || (console.tries() == 2).then_some(()));
        browser.wait_state("connecting");
        assert!(!browser.shows("#progress"));
        assert_eq!(browser.faults(), Vec::<serde_json::Value>::new());
    });
}
