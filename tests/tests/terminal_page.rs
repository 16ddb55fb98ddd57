//! The page of a terminal in a real browser: a machine's serial line, a container, a program.

use portcullis_tests::browser::{self, Browser};
use portcullis_tests::gateway::{Broker, Gateway};
use portcullis_tests::lxc::{self, Container};
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::serial::SerialMachine;
use portcullis_tests::{qemu, require, wait_for};
use serde_json::{Value, json};

/// Where xterm.js listens, and where it shows.
const KEYBOARD: &str = ".xterm-helper-textarea";
const ROWS: &str = ".xterm-rows";

fn page_of(broker: &Broker) -> Browser {
    let mut browser = Browser::open(broker.answer["console_url"].as_str().expect("a URL"));
    browser.wait_state("connected");
    browser
}

/// What is pressed before a program listens may be lost.
fn press_until(browser: &mut Browser, key: &str, shown: &str) {
    wait_for(shown, || {
        browser.press_in(KEYBOARD, key);
        std::thread::sleep(std::time::Duration::from_millis(500));
        browser.text(ROWS).contains(shown).then_some(())
    });
}

fn types(browser: &mut Browser, line: &str) {
    browser.ask(&json!({ "do": "type", "selector": KEYBOARD, "text": line }));
    browser.press_in(KEYBOARD, "Enter");
}

#[test]
fn the_browser_shows_a_serial_line() {
    if !(require::root() && require::pages() && browser::is_here() && qemu::is_here()) {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let _machine = SerialMachine::on_socket(&folder.path().join("line"));
        let root = format!("targets.unix_root = {:?}", folder.path());
        let gateway = Gateway::start(folder.path(), "none", &[&root]);
        let body = json!({ "graphics_protocol": "serial", "graphics_path": "line" });
        let broker = gateway.open_as("i-serial", &body);
        let mut browser = page_of(&broker);
        press_until(&mut browser, "c", "grub>");
        browser.press_in(KEYBOARD, "Enter");
        types(&mut browser, "echo it works");
        browser.wait_text(ROWS, "\nit works");
        browser.shot("terminal-serial");

        // What was shown is found.
        browser.click("#find-button");
        browser.fill("#find-text", "it works");
        browser.wait_text("#found", "of 2");
        browser.fill("#find-text", "no such text");
        browser.wait_text("#found", "Not found.");
        browser.is_accessible("the panel that looks for text");
        browser.shot("terminal-find");

        // Who loads the page again has what was there. A ticket is good for the one who used it.
        browser.goto("about:blank");
        browser.goto(broker.answer["console_url"].as_str().expect("a URL"));
        browser.wait_state("connected");
        browser.wait_text(ROWS, "\nit works");
        assert_eq!(browser.errors(), Vec::<Value>::new());
    });
}

#[test]
fn the_browser_shows_a_container() {
    if !(require::root() && require::pages() && browser::is_here() && lxc::is_here()) {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let container = Container::start(folder.path());
        let command =
            format!("terminals.commands.lxc = {{ command = {}, user = \"root\" }}", container.console());
        let gateway = Gateway::start(folder.path(), "none", &[&command]);
        let body = json!({ "hypervisor": "lxc", "graphics_command": "lxc", "graphics_arguments": ["c1"] });
        let mut browser = page_of(&gateway.open_as("i-c1", &body));
        press_until(&mut browser, "Enter", "in c1#");
        types(&mut browser, "hostname; echo $((6 * 7))");
        browser.wait_text(ROWS, "\nc1\n42");
        browser.shot("terminal-container");
        assert_eq!(browser.errors(), Vec::<Value>::new());
    });
}

#[test]
fn text_goes_in_and_out_and_the_window_is_followed() {
    if !(require::root() && require::pages() && browser::is_here()) {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let command = "terminals.commands.shell = { command = [\"/bin/sh\"], user = \"nobody\" }";
        let gateway = Gateway::start(folder.path(), "none", &[command]);
        let body = json!({ "graphics_protocol": "container", "graphics_command": "shell" });
        let mut browser = page_of(&gateway.open_as("i-shell", &body));

        // Pasted by the panel, without the return that would run it.
        browser.click("#clipboard-button");
        assert!(!browser.shows("#give"), "a terminal has no clipboard of its own");
        browser.fill("#clipboard-text", "echo pa\"\"sted");
        browser.click("#paste-in");
        browser.press_in(KEYBOARD, "Enter");
        browser.wait_text(ROWS, "\npasted");

        // Marked and copied: by the panel, which has what is marked.
        let line = browser.ask(&json!({ "do": "box", "selector": ".xterm-rows > div:nth-child(2)" }));
        let second = line["height"].as_f64().expect("a number") * 1.5;
        browser.ask(&json!({ "do": "double_click", "selector": ".xterm-screen", "x": 20, "y": second }));
        browser.click("#clipboard-button");
        assert_eq!(browser.value("#clipboard-text"), "pasted");
        browser.click("#clipboard-button");

        // What a program copies is offered, and copied by a click (OSC 52).
        browser.put_on_clipboard("nothing");
        types(&mut browser, "printf '\\033]52;c;Y29waWVk\\007'");
        browser.wait_for("#toast-action");
        browser.click("#toast-action");
        browser.wait_text("#toast-text", "Copied to this device.");
        assert_eq!(browser.clipboard(), "copied");

        // A key of the panel, and the size of the window.
        types(&mut browser, "sleep 1000");
        browser.click("#keys-button");
        assert!(!browser.shows("[data-keys=\"ctrl alt del\"]"), "nothing to a terminal");
        browser.shot("terminal-keys");
        browser.click("[data-keys=\"ctrl c\"]");
        browser.wait_text(ROWS, "^C");
        browser.ask(&json!({ "do": "viewport", "width": 700, "height": 500 }));
        let look = |browser: &mut Browser| {
            types(browser, "stty size");
            browser.text(ROWS)
        };
        let narrow = wait_for("the window to be followed", || {
            let shown = look(&mut browser);
            let told = shown.lines().rev().find_map(|line| {
                let (rows, columns) = line.trim().split_once(' ')?;
                Some((rows.parse::<u16>().ok()?, columns.parse::<u16>().ok()?))
            });
            told.filter(|(rows, columns)| *columns < 100 && *rows < 30)
        });
        assert!(narrow.0 > 10 && narrow.1 > 40, "{narrow:?}");
        browser.shot("terminal-narrow");
        assert_eq!(browser.errors(), Vec::<Value>::new());
    });
}
