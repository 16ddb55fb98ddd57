//! A browser: headless Chromium, driven by `tests/browser/drive.mjs`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::dialogue::Dialogue;
use crate::qemu::Screen;
use crate::{PATIENCE, require};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/browser");

/// Where our own page has the screen.
const OWN_CANVAS: &str = "#screen canvas";

/// Whether there is a browser and its driver.
pub fn is_here() -> bool {
    let driver = format!("{FOLDER}/node_modules/playwright-core");
    require::file("/usr/bin/chromium", "chromium") && require::file(&driver, "npm ci in tests/browser")
}

/// How a browser looks.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// 390 by 844 and touched, not 1280 by 800 and clicked.
    pub phone: bool,
    /// The colour scheme that its owner likes.
    pub dark: bool,
    /// The language, such as `zh-CN`.
    pub language: &'static str,
}

/// An open page.
pub struct Browser(Dialogue);

impl Browser {
    /// Opens `url`.
    ///
    /// # Panics
    /// It does not open.
    pub fn open(url: &str) -> Self {
        let mut command = Command::new("node");
        command.arg(Path::new(FOLDER).join("drive.mjs")).arg(url);
        let (driver, ready) = Dialogue::start(&mut command);
        assert_eq!(ready["ready"], true, "{ready}");
        Self(driver)
    }

    /// Does one thing, and returns the answer.
    ///
    /// # Panics
    /// It cannot be done.
    pub fn ask(&mut self, command: &Value) -> Value {
        let answer = self.0.ask(command);
        assert_eq!(answer["ok"], true, "{command}: {answer}");
        answer
    }

    /// Waits for a state of the page.
    pub fn wait_state(&mut self, state: &str) {
        let patience = Duration::as_millis(&PATIENCE) as u64;
        self.ask(&json!({ "do": "wait_state", "state": state, "timeout_ms": patience }));
    }

    /// Waits until the page shows what `selector` names.
    pub fn wait_for(&mut self, selector: &str) {
        let patience = Duration::as_millis(&PATIENCE) as u64;
        self.ask(&json!({ "do": "wait_for", "selector": selector, "timeout_ms": patience }));
    }

    /// The screen of the machine, as the page has it.
    pub fn screen(&mut self) -> Screen {
        self.screen_in(OWN_CANVAS)
    }

    /// The same of another page, which has it in the canvas that `selector` names.
    pub fn screen_in(&mut self, selector: &str) -> Screen {
        let answer = self.ask(&json!({ "do": "pixels", "selector": selector }));
        let size = |name: &str| answer[name].as_u64().expect("a number") as usize;
        let rgb = BASE64_STANDARD.decode(answer["rgb"].as_str().expect("text")).expect("base64");
        Screen { width: size("width"), height: size("height"), rgb }
    }

    /// A property of the first such element.
    pub fn property(&mut self, selector: &str, name: &str) -> Value {
        self.ask(&json!({ "do": "property", "selector": selector, "name": name }))["value"].clone()
    }

    /// Presses a key on the machine's screen.
    pub fn press(&mut self, key: &str) {
        self.press_in(OWN_CANVAS, key);
    }

    /// The same in another page.
    pub fn press_in(&mut self, selector: &str, key: &str) {
        self.ask(&json!({ "do": "press", "selector": selector, "key": key }));
    }

    /// Types text on the machine's screen.
    pub fn type_text(&mut self, text: &str) {
        self.ask(&json!({ "do": "type", "text": text }));
    }

    /// Clicks in the middle of it.
    pub fn click(&mut self, selector: &str) {
        self.ask(&json!({ "do": "click", "selector": selector }));
    }

    /// Writes into a field, in place of what is there.
    pub fn fill(&mut self, selector: &str, value: &str) {
        self.ask(&json!({ "do": "fill", "selector": selector, "value": value }));
    }

    /// How many there are, seen or not.
    pub fn count(&mut self, selector: &str) -> u64 {
        self.ask(&json!({ "do": "count", "selector": selector }))["count"].as_u64().expect("a number")
    }

    /// Scrolls it to its end.
    pub fn scroll_to_end(&mut self, selector: &str) {
        self.ask(&json!({ "do": "scroll", "selector": selector, "to": 1 }));
    }

    /// What the address bars of all tabs show.
    pub fn tabs(&mut self) -> Vec<String> {
        let answer = self.ask(&json!({ "do": "tabs" }));
        let addresses = answer["addresses"].as_array().expect("a list").iter();
        addresses.map(|address| address.as_str().expect("text").to_owned()).collect()
    }

    /// Loads the page again.
    pub fn reload(&mut self) {
        self.ask(&json!({ "do": "reload" }));
    }

    /// Waits until a person reads `words` there.
    ///
    /// # Panics
    /// They do not come.
    pub fn wait_text(&mut self, selector: &str, words: &str) {
        crate::wait_for(&format!("{words:?} in {selector}"), || {
            let there = self.count(selector) == 1 && self.text(selector).contains(words);
            there.then_some(())
        });
    }

    /// Goes to another address in the same page.
    pub fn goto(&mut self, url: &str) {
        self.ask(&json!({ "do": "goto", "url": url }));
    }

    /// Opens `url` in a browser without memory, which looks as `look` says.
    pub fn reopen(&mut self, url: &str, look: Look) {
        let Look { phone, dark, language } = look;
        let scheme = if dark { "dark" } else { "light" };
        self.ask(
            &json!({ "do": "reopen", "url": url, "phone": phone, "scheme": scheme, "language": language }),
        );
    }

    /// Writes a picture of the page to `target/screenshots`, for people to look at.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn shot(&mut self, name: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots");
        std::fs::create_dir_all(&folder).expect("a folder");
        self.ask(&json!({ "do": "screenshot", "path": folder.join(format!("{name}.png")) }));
    }

    /// What axe-core finds in the page as it is now that would keep people out, which is nothing.
    ///
    /// # Panics
    /// It finds something.
    pub fn is_accessible(&mut self, what: &str) {
        let found = self.ask(&json!({ "do": "axe" }))["violations"].clone();
        assert_eq!(found, json!([]), "{what}");
    }

    /// What is on the clipboard of the browser's device.
    pub fn clipboard(&mut self) -> String {
        self.ask(&json!({ "do": "clipboard" }))["text"].as_str().expect("text").to_owned()
    }

    /// Puts text there.
    pub fn put_on_clipboard(&mut self, text: &str) {
        self.ask(&json!({ "do": "clipboard", "text": text }));
    }

    /// Name and text of the file that a click saves.
    pub fn download(&mut self, selector: &str) -> (String, String) {
        let answer = self.ask(&json!({ "do": "download", "selector": selector }));
        let [name, text] = ["name", "text"].map(|key| answer[key].as_str().expect("text").to_owned());
        (name, text)
    }

    /// Chooses files, each a name and a text, where a click asks for some.
    pub fn choose(&mut self, selector: &str, files: &[(&str, &str)]) {
        let files: Vec<_> = files.iter().map(|(name, text)| json!({ "name": name, "text": text })).collect();
        self.ask(&json!({ "do": "choose", "selector": selector, "files": files }));
    }

    /// Id of what has the focus, or its element's name.
    pub fn focused(&mut self) -> String {
        self.ask(&json!({ "do": "focused" }))["selector"].as_str().expect("text").to_owned()
    }

    /// What a person reads there.
    pub fn text(&mut self, selector: &str) -> String {
        self.ask(&json!({ "do": "text", "selector": selector }))["text"].as_str().expect("text").to_owned()
    }

    /// Whether a person sees it.
    pub fn shows(&mut self, selector: &str) -> bool {
        self.ask(&json!({ "do": "visible", "selector": selector }))["visible"] == true
    }

    /// What is in a field.
    pub fn value(&mut self, selector: &str) -> String {
        self.ask(&json!({ "do": "value", "selector": selector }))["value"].as_str().expect("text").to_owned()
    }

    /// What the address bar shows.
    pub fn address(&mut self) -> String {
        self.ask(&json!({ "do": "address" }))["address"].as_str().expect("text").to_owned()
    }

    /// Errors of the page so far, violations of its security policy among them.
    pub fn errors(&mut self) -> Vec<Value> {
        self.ask(&json!({ "do": "console_errors" }))["errors"].as_array().expect("a list").clone()
    }

    /// The same without what the browser itself says of requests that were refused, which no page can prevent.
    pub fn faults(&mut self) -> Vec<Value> {
        let mut errors = self.errors();
        errors.retain(|error| {
            let text = error["text"].as_str().unwrap_or_default();
            !(text.starts_with("Failed to load resource") || text.starts_with("WebSocket connection to"))
        });
        errors
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It takes its processes and files along; the guard behind it would leave them.
        self.0.process.signal(Signal::SIGTERM);
        for _ in 0..2_000 {
            if !matches!(self.0.process.child().try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
