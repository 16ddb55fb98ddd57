//! The page of an RDP desktop in a real browser, before FreeRDP's shadow server, and before machines of IronRDP's parts
//! for what that one has not.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use portcullis_tests::browser::{self, Browser};
use portcullis_tests::gateway::{Broker, Gateway};
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::rdp::{self, Security, Shadow};
use portcullis_tests::rdp_desktop::{self, Desktop};
use portcullis_tests::{require, wait_for};
use serde_json::{Value, json};

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
        let ran = catch_unwind(AssertUnwindSafe(|| body(&shadow, &gateway, &broker, &mut browser)));
        if let Err(panic) = ran {
            eprintln!("the gateway said:\n{}", gateway.log());
            resume_unwind(panic);
        }
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

/// The terminal takes what `keys` presses, which is `text`. The first click on a desktop may be the window manager's,
/// and on a busy machine a key may be held for so long that it is repeated: then once more.
fn takes(browser: &mut Browser, shadow: &Shadow, text: &str, keys: impl Fn(&mut Browser)) {
    wait_for(&format!("{text:?} on the desktop"), || {
        browser.click("#screen canvas");
        keys(browser);
        std::thread::sleep(Duration::from_secs(1));
        shadow.typed().windows(text.len()).any(|part| part == text.as_bytes()).then_some(())
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
        // RDP has keys, not characters: Shift is pressed, too.
        takes(browser, shadow, "Good morning, 42", |browser| {
            browser.press("Shift+G");
            browser.type_text("ood morning, 42");
        });
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
        takes(browser, shadow, "inside", |browser| browser.type_text("inside"));
        browser.shot("rdp-nla");
    });
}

#[test]
fn the_panels_work_and_an_end_is_told() {
    if !all_is_here() {
        return;
    }
    with_a_desktop(NLA, |shadow, gateway, _, browser| {
        log_in(browser, PASSWORD);
        browser.wait_state("connected");
        // Keys that a browser keeps for itself, and text for a machine without a clipboard.
        takes(browser, shadow, "\x1b[D", |browser| {
            browser.click("#keys-button");
            browser.click("[data-keys=left]");
        });
        takes(browser, shadow, "Typed, AZ!", |browser| {
            browser.click("#clipboard-button");
            browser.fill("#clipboard-text", "Typed, AZ!");
            browser.click("#type");
        });
        browser.click("#clipboard-button");
        assert!(browser.shows("#send-files"));
        browser.is_accessible("the panel of clipboard and files");
        browser.shot("rdp-clipboard");
        browser.click("#clipboard-button");

        // This machine has one size: the page says so, and shows all of it.
        browser.click("#settings-button");
        browser.click("[value=follow]");
        browser.wait_text("#toast-text", "keeps its own resolution");
        browser.click("#settings-button");

        let api = gateway.api();
        let live = api.get("/v1/sessions?state=live").1["items"].as_array().expect("a list").clone();
        assert_eq!(live.len(), 1, "{live:?}");
        let id = live[0]["session_id"].as_str().expect("an id");
        assert_eq!(api.delete(&format!("/v1/sessions/{id}")).0, 204);
        browser.wait_state("ended");
        assert_eq!(browser.text("#title"), "An operator ended this session");
    });
}

#[test]
fn another_certificate_than_the_first_is_told() {
    if !all_is_here() {
        return;
    }
    with_a_desktop(Security::Tls, |_, gateway, broker, browser| {
        log_in(browser, PASSWORD);
        browser.wait_state("connected");
        let path = format!("/v1/instances/{}", broker.instance());
        let seen = || gateway.api().get(&path).1["tls_seen"].clone();
        let first = seen();
        assert!(first.is_string(), "{first}");
        // Nobody comes back to the machine that was there.
        browser.goto("about:blank");
        gateway.wait_metric("portcullis_sessions_active{protocol=\"rdp\"}", 0.0);
        let folder = tempfile::tempdir().expect("a folder");
        let other = Shadow::start(&folder.path().join("other"), Security::Tls);
        let instance =
            json!({ "host": "127.0.0.1", "graphics_port": other.port, "graphics_protocol": "rdp" });
        let (status, written) = gateway.api().put(&path, &instance);
        assert_eq!((status, &written["tls_seen"]), (200, &first), "{written}");
        let broker = gateway.open_again(broker.instance());
        browser.goto(broker.answer["console_url"].as_str().expect("a URL"));
        log_in(browser, PASSWORD);
        browser.wait_state("failed");
        assert_eq!(browser.text("#title"), "This may be another machine");
        browser.shot("rdp-changed");
        assert_eq!(gateway.api().delete(&format!("{path}/certificate")).0, 204);
        browser.click("#again");
        log_in(browser, PASSWORD);
        browser.wait_state("connected");
        shows(browser, &other);
    });
}

#[test]
fn who_was_cut_off_comes_back_without_a_login() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let shadow = Shadow::start(&folder.path().join("shadow"), NLA);
        let start = || Gateway::start(folder.path(), "none", &["session.reconnect_s = 120"]);
        let gateway = start();
        let broker = gateway.open_speaking("rdp", shadow.port);
        let mut browser = Browser::open(broker.answer["console_url"].as_str().expect("a URL"));
        log_in(&mut browser, PASSWORD);
        browser.wait_state("connected");
        gateway.stop();
        browser.wait_state("reconnecting");
        let _gateway = start();
        browser.wait_state("connected");
        shows(&mut browser, &shadow);
        browser.shot("rdp-back");
    });
}

/// Runs `body` with a desktop by IronRDP's server, which the page shows.
fn with_a_modern_desktop(body: impl FnOnce(&mut Desktop, &mut Browser) + Send) {
    with_a_modern_machine(|desktop| desktop.port, body);
}

/// Runs `body` with machines of IronRDP's parts; the page shows the one at `port`.
fn with_a_modern_machine(
    port: impl FnOnce(&Desktop) -> u16 + Send,
    body: impl FnOnce(&mut Desktop, &mut Browser) + Send,
) {
    if !all_is_here() || !rdp_desktop::is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut desktop = Desktop::start();
        let gateway = Gateway::start(folder.path(), "none", &[]);
        let broker = gateway.open_speaking("rdp", port(&desktop));
        let mut browser = Browser::open(broker.answer["console_url"].as_str().expect("a URL"));
        let ran = catch_unwind(AssertUnwindSafe(|| {
            log_in(&mut browser, PASSWORD);
            browser.wait_state("connected");
            body(&mut desktop, &mut browser);
        }));
        if let Err(panic) = ran {
            eprintln!("the gateway said:\n{}", gateway.log());
            resume_unwind(panic);
        }
        assert_eq!(browser.errors(), Vec::<Value>::new());
    });
}

#[test]
fn the_desktop_follows_the_window() {
    with_a_modern_desktop(|desktop, browser| {
        let shown = |browser: &mut Browser| {
            let screen = browser.screen();
            (screen.width as u64, screen.height as u64)
        };
        let mut last = desktop.size();
        wait_for("the picture", || (shown(browser) == last).then_some(()));
        browser.click("#settings-button");
        browser.click("[value=follow]");
        browser.click("#settings-button");
        for (width, height) in [(1100, 700), (900, 760)] {
            browser.ask(&json!({ "do": "viewport", "width": width, "height": height }));
            wait_for("the desktop to follow", || {
                let size = desktop.size();
                let follows = size != last && size.0 <= width && size.0 + 16 > width && size.1 <= height;
                (follows && shown(browser) == size).then_some(())
            });
            last = desktop.size();
        }
        browser.shot("rdp-follows");
    });
}

#[test]
fn text_and_files_go_by_the_clipboard() {
    with_a_modern_desktop(|desktop, browser| {
        browser.click("#clipboard-button");
        browser.fill("#clipboard-text", "to the machine: ä€");
        browser.click("#give");
        wait_for("the text", || (desktop.look()["text"] == "to the machine: ä€").then_some(()));
        desktop.copy("from the machine: ß¥");
        browser.wait_text("#toast-text", "The machine copied text");
        browser.click("#toast-action");
        wait_for("the device's clipboard", || (browser.clipboard() == "from the machine: ß¥").then_some(()));

        // More than goes in one piece.
        let large = "0123456789".repeat(30_000);
        let given = [("one.txt", "the first"), ("two.txt", large.as_str())];
        let files = given.map(|(name, text)| json!({ "name": name, "text": text })).into();
        browser.click("#clipboard-button");
        browser.choose("#send-files", &given);
        wait_for("the files", || (desktop.look()["files"] == files).then_some(()));
        browser.wait_text("#toast-text", "The machine has the files");

        desktop.copy_files(&files);
        browser.wait_for("#files li:nth-child(2)");
        browser.shot("rdp-files");
        for (at, (name, text)) in given.iter().enumerate() {
            let button = format!("#files li:nth-child({}) button", at + 1);
            assert_eq!(browser.download(&button), ((*name).to_owned(), (*text).to_owned()));
        }
    });
}

#[test]
fn a_printed_document_comes_to_the_browser() {
    with_a_modern_machine(
        |desktop| desktop.printing_port,
        |desktop, browser| {
            let mut prints = |browser: &mut Browser, text: &str| {
                desktop.print(text);
                browser.wait_text("#toast-text", "The machine printed a document");
            };
            // More than goes in one piece.
            let pdf = format!("%PDF-1.7\n{}", "one of many lines: ä€\n".repeat(10_000));
            prints(browser, &pdf);
            browser.shot("rdp-printed");
            let (name, text) = browser.download("#toast-action");
            assert_eq!((name.as_str(), text.len()), ("document.pdf", pdf.len()));
            assert!(text == pdf, "another document");
            let other = "\x1b%-12345X@PJL\r\n";
            prints(browser, other);
            let second = ("document-2.prn".to_owned(), other.to_owned());
            assert_eq!(browser.download("#toast-action"), second);
            // Another one, or another word of the page, does not push them away.
            browser.click("#clipboard-button");
            assert_eq!(browser.download("#files li:nth-child(1) button"), ("document.pdf".to_owned(), pdf));
            assert_eq!(browser.download("#files li:nth-child(2) button"), second);
            // A machine that prints for ever pushes the oldest away.
            for _ in 2..22 {
                desktop.print(other);
            }
            wait_for("the last one", || {
                let last = "#files li:nth-child(20)";
                let is_listed = browser.count(last) == 1;
                (is_listed && browser.text(last).starts_with("document-22.prn ")).then_some(())
            });
            assert_eq!(browser.count("#files li"), 20);
            assert!(browser.text("#files li:nth-child(1)").starts_with("document-3.prn "));
            let printer = json!({ "name": "Portcullis", "driver": "Microsoft Print to PDF" });
            assert_eq!(desktop.look()["printers"], json!([printer]));
        },
    );
}
