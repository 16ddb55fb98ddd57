//! The page's hands and ears, on a desktop of another make: typing, mouse, clipboard both ways, keyboard
//! focus, resolution.

use portcullis_tests::browser::{self, Browser, Look};
use portcullis_tests::gateway::Gateway;
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::process::run;
use portcullis_tests::tigervnc::{self, Desktop};
use portcullis_tests::{require, wait_for};
use serde_json::{Value, json};

/// A page from loopback is a secure one, also by plain http (W3C Secure Contexts section 3.1).
const ADDRESS: &str = portcullis_tests::gateway::ADDRESS;
const SCREEN: &str = "#screen canvas";
const FIELD: &str = "#clipboard-text";
const DESK: Look = Look { phone: false, dark: false, language: "en-US" };
const PHONE: Look = Look { phone: true, ..DESK };
const PASSWORD: &str = "inside12";

fn all_is_here() -> bool {
    require::kernel() && require::pages() && browser::is_here() && tigervnc::is_here()
}

/// Runs `body` with a desktop whose password the gateway has, and the page that shows it, served at `address`.
fn with_a_desktop(address: &str, look: Look, body: impl FnOnce(&Desktop, &mut Browser) + Send) {
    with_a_page(address, look, Some(PASSWORD), |desktop, browser| {
        browser.wait_state("connected");
        body(desktop, browser);
    });
}

/// The same with the password that the gateway is given, if any.
fn with_a_page(
    address: &str,
    look: Look,
    password: Option<&str>,
    body: impl FnOnce(&Desktop, &mut Browser) + Send,
) {
    in_namespace(|| {
        if address != ADDRESS {
            run("ip", &["address", "add", &format!("{address}/32"), "dev", "lo"]);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let desktop = Desktop::start(folder.path(), PASSWORD);
        let gateway = Gateway::start_by(folder.path(), &[address], "ebpf", &[], |command, _| command);
        let instance = json!({
            "host": "127.0.0.1", "graphics_port": desktop.vnc_port, "graphics_protocol": "vnc",
            "graphics_passwd": password,
        });
        assert_eq!(gateway.api().put("/v1/instances/i-desktop", &instance).0, 201);
        let broker = gateway.open_again("i-desktop");
        let mut browser = Browser::open("about:blank");
        browser.reopen(broker.answer["console_url"].as_str().expect("a URL"), look);
        body(&desktop, &mut browser);
        assert_eq!(browser.errors(), Vec::<Value>::new());
        assert!(!gateway.log().contains(PASSWORD), "the password is in the log");
    });
}

#[test]
fn a_desktop_is_worked_with() {
    if !all_is_here() {
        return;
    }
    with_a_desktop(ADDRESS, DESK, |desktop, browser| {
        // Keys go where the pointer is, because there is no window manager.
        browser.click(SCREEN);
        // A button, and the place of the pointer, each as a byte from 32 on.
        desktop.wait_typed(b"\x1b[M ");
        browser.type_text("Good morning, 42!");
        desktop.wait_typed(b"Good morning, 42!");

        // Keys that a browser keeps for itself, and one that is held for the next.
        browser.click("#keys-button");
        browser.click("[data-keys=esc]");
        browser.click("[data-hold=ctrl]");
        browser.press("b");
        desktop.wait_typed(b"\x1b\x02");
        browser.press("c");
        desktop.wait_typed(b"\x02c");

        // The screen takes every key; three of them lead out of it, and one back.
        browser.press("Control+Alt+Shift");
        assert_eq!(browser.focused(), "keys-button");
        browser.ask(&json!({ "do": "press", "key": "Escape", "selector": "#keys-button" }));
        assert_eq!(browser.focused(), "canvas");

        // The bar gets out of the way, and comes back.
        browser.click("#hide-bar");
        assert!(!browser.shows("#bar"));
        browser.click("#show-bar");
        assert!(browser.shows("#bar") && !browser.shows("#show-bar"));
        browser.click("#full-screen");
        wait_for("the handle of the bar", || browser.shows("#show-bar").then_some(()));
        browser.click("#show-bar");
        browser.click("#full-screen");
        wait_for("the bar", || (browser.shows("#bar") && !browser.shows("#show-bar")).then_some(()));

        // The desktop's resolution follows the window.
        browser.click("#settings-button");
        browser.click("[value=follow]");
        let size = browser.ask(&json!({ "do": "box", "selector": "#screen" }));
        wait_for("the desktop to follow", || {
            let screen = browser.screen();
            (json!([screen.width, screen.height]) == json!([size["width"], size["height"]])).then_some(())
        });
        browser.shot("real-desktop");
    });
}

#[test]
fn a_password_that_the_gateway_does_not_have_is_asked_for() {
    if !all_is_here() {
        return;
    }
    with_a_page(ADDRESS, DESK, None, |_, browser| {
        let answer = |browser: &mut Browser, password: &str| {
            browser.wait_state("credentials");
            browser.ask(&json!({ "do": "type", "text": password, "selector": "[name=password]" }));
            browser.click("#answer");
        };
        answer(browser, "wrong");
        browser.wait_state("failed");
        assert_eq!(browser.text("#title"), "The machine did not accept the login");
        browser.shot("real-wrong-login");
        browser.click("#again");
        answer(browser, PASSWORD);
        browser.wait_state("connected");
    });
}

#[test]
fn both_clipboards_are_shared_by_a_click() {
    if !all_is_here() {
        return;
    }
    with_a_desktop(ADDRESS, DESK, |desktop, browser| {
        browser.put_on_clipboard("nothing was copied");
        desktop.copy("from the desktop, ä");
        wait_for("the page to tell", || browser.text("#toast-text").contains("copied text").then_some(()));
        browser.shot("real-copied");
        // It told, and nothing else.
        assert_eq!(browser.clipboard(), "nothing was copied");
        browser.click("#toast-action");
        wait_for("the copy", || (browser.clipboard() == "from the desktop, ä").then_some(()));

        browser.put_on_clipboard("from the browser");
        browser.click("#clipboard-button");
        browser.click("#paste");
        wait_for("the paste", || (browser.value(FIELD) == "from the browser").then_some(()));
        browser.click("#give");
        pasted(desktop, browser, b"from the browser");
    });
}

/// Where a page that came by plain http has no interface to the clipboard.
#[test]
fn text_is_shared_without_the_clipboard_of_a_secure_page() {
    if !all_is_here() {
        return;
    }
    with_a_desktop("10.80.0.1", DESK, |desktop, browser| {
        desktop.copy("from the desktop");
        wait_for("the page to tell", || browser.text("#toast-text").contains("copied text").then_some(()));
        browser.click("#toast-action");
        wait_for("the page to tell", || browser.text("#toast-text").contains("Copied").then_some(()));
        browser.click("#clipboard-button");
        assert_eq!(browser.value(FIELD), "from the desktop");
        assert!(!browser.shows("#paste"), "there is nothing to paste with");
        let mut edit = |key: &str| browser.ask(&json!({ "do": "press", "key": key, "selector": FIELD }));
        for key in ["Control+A", "Delete", "Control+V", "Control+V"] {
            edit(key);
        }
        assert_eq!(browser.value(FIELD), "from the desktopfrom the desktop");
        browser.click("#give");
        pasted(desktop, browser, b"from the desktopfrom the desktop");

        // And for a machine without any clipboard.
        browser.click("#clipboard-button");
        browser.ask(&json!({ "do": "press", "key": "Control+A", "selector": FIELD }));
        browser.ask(&json!({ "do": "type", "text": "Typed, \"AZ~{}|\" 1!", "selector": FIELD }));
        browser.click("#type");
        desktop.wait_typed(b"Typed, \"AZ~{}|\" 1!");
    });
}

#[test]
fn a_phone_has_mouse_and_keyboard() {
    if !all_is_here() {
        return;
    }
    with_a_desktop(ADDRESS, PHONE, |desktop, browser| {
        browser.ask(&json!({ "do": "tap", "selector": SCREEN }));
        desktop.wait_typed(b"\x1b[M ");
        browser.ask(&json!({ "do": "tap", "selector": "#keyboard-button" }));
        assert_eq!(browser.focused(), "typing");
        browser.ask(&json!({ "do": "type", "text": "Thumbs, 2", "selector": "#typing" }));
        for key in ["Backspace", "Enter", "ArrowLeft"] {
            browser.ask(&json!({ "do": "press", "key": key, "selector": "#typing" }));
        }
        desktop.wait_typed(b"Thumbs, 2\x7f\r\x1b[D");

        // A held key goes along with what the phone types.
        browser.ask(&json!({ "do": "tap", "selector": "#keys-button" }));
        browser.ask(&json!({ "do": "tap", "selector": "[data-hold=ctrl]" }));
        assert_eq!(browser.focused(), "typing");
        browser.ask(&json!({ "do": "type", "text": "b", "selector": "#typing" }));
        desktop.wait_typed(b"\x1b[D\x02");
        browser.shot("real-phone");
        browser.ask(&json!({ "do": "tap", "selector": "#keyboard-button" }));
        assert_ne!(browser.focused(), "typing");
    });
}

/// Waits until the desktop pastes `text`. Its server learns of new text by a message that no answer follows.
fn pasted(desktop: &Desktop, browser: &mut Browser, text: &[u8]) {
    browser.click(SCREEN);
    wait_for("the desktop to paste", || {
        browser.press("Shift+Insert");
        desktop.typed().windows(text.len()).any(|part| part == text).then_some(())
    });
}
