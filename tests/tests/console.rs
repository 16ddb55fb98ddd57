//! End to end: a real machine, a real browser, our page between them.

use portcullis_tests::browser::{self, Browser};
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

        // A key changes the screen of the machine, and with it the page.
        browser.press("c");
        wait_for("the page to show what the key did", || {
            (same_picture(&mut machine, || browser.screen()).likeness(&menu) < 0.99).then_some(())
        });

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
        browser.wait_state("failed");
        assert!(browser.text("#detail").contains("target_refused"), "{}", browser.text("#detail"));

        let wrong = format!("http://{}/#token={}", broker.endpoint, "0".repeat(64));
        browser.ask(&serde_json::json!({ "do": "goto", "url": wrong }));
        wait_for("the wrong ticket to be named", || {
            browser.text("#detail").contains("wrong_ticket").then_some(())
        });

        let none = format!("http://{}/", broker.endpoint);
        browser.ask(&serde_json::json!({ "do": "goto", "url": none }));
        wait_for("the missing ticket to be named", || {
            browser.text("#detail").contains("no_ticket").then_some(())
        });
    });
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
