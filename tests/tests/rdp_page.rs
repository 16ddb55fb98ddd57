//! The page of an RDP desktop in a real browser, before FreeRDP's shadow server, and the way in by RDCleanPath.

use std::time::Duration;

use portcullis_tests::browser::{self, Browser};
use portcullis_tests::gateway::{Broker, Gateway};
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::rdp::{self, Security, Shadow};
use portcullis_tests::{require, wait_for};
use serde_json::Value;

const USER: &str = "user";
const PASSWORD: &str = "inside12";
const NLA: Security<'_> = Security::Nla { user: USER, password: PASSWORD };

fn all_is_here() -> bool {
    require::root() && require::pages() && browser::is_here() && rdp::is_here()
}

/// Runs `body` with a desktop of `security`, and the page that is to show it.
fn with_a_desktop(
    security: Security<'_>,
    body: impl FnOnce(&Shadow, &Gateway, &Broker, &mut Browser) + Send,
) {
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let shadow = Shadow::start(&folder.path().join("shadow"), security);
        let gateway = Gateway::start(folder.path(), "none", &[]);
        let broker = gateway.open_speaking("rdp", shadow.port);
        let mut browser = Browser::open(broker.answer["console_url"].as_str().expect("a URL"));
        body(&shadow, &gateway, &broker, &mut browser);
        assert_eq!(browser.errors(), Vec::<Value>::new());
        for secret in [PASSWORD, &broker.token] {
            assert!(!gateway.log().contains(secret), "a secret is in the log");
        }
    });
}

fn log_in(browser: &mut Browser, password: &str) {
    browser.wait_state("credentials");
    browser.fill("[name=username]", USER);
    browser.fill("[name=password]", password);
    browser.click("#answer");
}

/// The page shows what is on the desktop: its size, and the colour of the terminal.
fn shows(browser: &mut Browser, shadow: &Shadow) {
    wait_for("the picture of the desktop", || {
        let (shown, real) = (browser.screen(), shadow.desk.screen());
        let same = (shown.width, shown.height) == (real.width, real.height);
        (same && alike(&shown.rgb, &real.rgb)).then_some(())
    });
}

/// Clicks into the terminal until it takes keys: the first click on a desktop may be the window manager's.
fn listens(browser: &mut Browser, shadow: &Shadow) {
    wait_for("the terminal to take keys", || {
        browser.click("#screen canvas");
        browser.type_text(".");
        std::thread::sleep(Duration::from_millis(500));
        shadow.typed().contains(&b'.').then_some(())
    });
}

/// Pictures that went by 16 bits for each pixel: nine tenths of them are nearly the same.
fn alike(shown: &[u8], real: &[u8]) -> bool {
    let near = |(a, b): &(&u8, &u8)| a.abs_diff(**b) <= 12;
    let same = shown.iter().zip(real).filter(near).count();
    shown.len() == real.len() && same * 10 >= shown.len() * 9
}

#[test]
fn the_browser_shows_a_desktop_by_tls() {
    if !all_is_here() {
        return;
    }
    with_a_desktop(Security::Tls, |shadow, gateway, _, browser| {
        browser.wait_state("credentials");
        browser.is_accessible("the question for a login");
        browser.shot("rdp-login");
        log_in(browser, PASSWORD);
        browser.wait_state("connected");
        shows(browser, shadow);
        listens(browser, shadow);
        // RDP has keys, not characters: Shift is pressed, too.
        browser.press("Shift+G");
        browser.type_text("ood morning, 42");
        shadow.wait_typed(b"Good morning, 42");
        browser.shot("rdp-tls");
        browser.is_accessible("an RDP desktop");
        gateway.wait_metric("portcullis_sessions_active{protocol=\"rdp\"}", 1.0);
    });
}

#[test]
fn the_browser_logs_in_by_nla() {
    if !all_is_here() {
        return;
    }
    with_a_desktop(NLA, |shadow, _, _, browser| {
        log_in(browser, "wrong");
        browser.wait_state("failed");
        assert_eq!(browser.text("#title"), "The machine did not accept the login");
        browser.shot("rdp-wrong-login");
        browser.click("#again");
        log_in(browser, PASSWORD);
        browser.wait_state("connected");
        shows(browser, shadow);
        listens(browser, shadow);
        browser.type_text("inside");
        shadow.wait_typed(b"inside");
        browser.shot("rdp-nla");
    });
}
