//! The calls in README.md, as they stand there: through a shell, to a daemon with the configuration that is
//! shipped, on its own ports and with its own folders.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use nix::sys::signal::Signal;
use portcullis_tests::gateway::{ADDRESS, Broker, Gateway, program};
use portcullis_tests::namespace::hide;
use portcullis_tests::process::{Guarded, run};
use portcullis_tests::require;
use portcullis_tests::target::Target;
use portcullis_tests::websocket::{closed, echoes, open};
use portcullis_tests::{behind_every_gate, wait_for};
use serde_json::Value;

behind_every_gate!(the_calls_of_the_readme_do_what_it_says);

const README: &str = include_str!("../../README.md");
const CHINESE: &str = include_str!("../../README.zh-CN.md");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/portcullis.toml");

/// The commands of the fenced blocks that hold calls by curl, with the lines that belong together.
fn commands() -> Vec<String> {
    let blocks = README.split("\n```").skip(1).step_by(2);
    let mut commands: Vec<String> = Vec::new();
    for block in blocks.filter(|block| block.lines().any(|line| line.starts_with("curl "))) {
        let mut command = String::new();
        // An apostrophe in a remark opens no quotation.
        for line in block.lines().skip(1).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            command.push_str(line);
            command.push('\n');
            let whole = !line.ends_with('\\') && command.matches('\'').count().is_multiple_of(2);
            if whole {
                commands.push(std::mem::take(&mut command).trim().to_owned());
            }
        }
        assert!(command.is_empty(), "{command}");
    }
    commands
}

#[test]
fn every_call_is_shown() {
    let document: Value = serde_json::from_str(include_str!("../../deploy/openapi.json")).expect("JSON");
    let shown: Vec<_> = commands().iter().filter_map(|command| called(command)).collect();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            let is_it = |(by, at): &(String, String)| by.eq_ignore_ascii_case(method) && is_at(path, at);
            assert!(shown.iter().any(is_it), "README.md has no curl for {method} {path}: {shown:?}");
        }
    }
}

/// Method and path of a call by curl.
fn called(command: &str) -> Option<(String, String)> {
    let command = command.strip_prefix("curl ")?.split(" #").next()?.trim();
    let method = command.split_once("-X ").and_then(|(_, rest)| rest.split(' ').next());
    let method = method.unwrap_or(if command.contains(" -d ") { "POST" } else { "GET" });
    let url =
        command.split_whitespace().next_back()?.trim_matches(['"', '\'']).replace("$API", "http://x/v1");
    let path = url.split("://").nth(1)?.split_once('/')?.1.split('?').next()?.to_owned();
    Some((method.to_owned(), format!("/{path}")))
}

fn is_at(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len() && template.iter().zip(&path).all(|(a, b)| a == b || *a == "{id}")
}

#[test]
fn the_chinese_one_shows_the_same() {
    let (english, chinese) = (fenced(README), fenced(CHINESE));
    assert_eq!(english.len(), chinese.len());
    for (english, chinese) in english.iter().zip(&chinese) {
        assert_eq!(english, chinese);
    }
    assert_eq!(headings(README), headings(CHINESE));
    let (english, chinese) = (rows(README), rows(CHINESE));
    for (english, chinese) in english.iter().zip(&chinese) {
        assert_eq!(code(english), code(chinese), "{chinese}");
    }
    assert_eq!(english.len(), chinese.len());
}

/// The fenced blocks, each with its lines; of a comment there is only that it is there.
fn fenced(text: &str) -> Vec<Vec<String>> {
    let uncommented = |line: &str| {
        if line.starts_with('#') {
            return "#".to_owned();
        }
        match line.split_once("  # ") {
            Some((code, _)) => format!("{} #", code.trim_end()),
            None => line.to_owned(),
        }
    };
    text.split("\n```").skip(1).step_by(2).map(|block| block.lines().map(uncommented).collect()).collect()
}

/// The lines that are in no fenced block.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n```").step_by(2).flat_map(str::lines)
}

/// What is linked to: a heading of the same page, or a file.
#[test]
fn what_is_linked_to_is_there() {
    for text in [README, CHINESE] {
        let anchors: Vec<_> = prose(text).filter_map(anchor).collect();
        let links: Vec<_> = prose(text).flat_map(links).collect();
        assert!(links.len() > 5, "{links:?}");
        for link in links {
            let is_there = match link.strip_prefix('#') {
                Some(heading) => anchors.iter().any(|anchor| anchor == heading),
                None => Path::new(ROOT).join(link).is_file(),
            };
            assert!(is_there, "{link}");
        }
    }
}

fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// What a link to a heading has behind its `#`.
fn anchor(line: &str) -> Option<String> {
    let (_, title) = line.strip_prefix('#')?.split_once(' ')?;
    let kept = title.chars().filter(|sign| sign.is_alphanumeric() || [' ', '-'].contains(sign));
    Some(kept.collect::<String>().to_lowercase().replace(' ', "-"))
}

/// They are as the browser tests make them (ARCHITECTURE.md says which), of the whole window.
#[test]
fn the_pictures_are_of_our_pages() {
    for text in [README, CHINESE] {
        let pictures: Vec<_> = prose(text).flat_map(links).filter(|link| link.ends_with(".png")).collect();
        assert_eq!(pictures, ["deploy/pictures/console.png", "deploy/pictures/dashboard.png"]);
        for picture in pictures {
            let bytes = std::fs::read(Path::new(ROOT).join(picture)).expect("a file");
            assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"), "{picture}");
            assert_eq!(bytes[16..24], WINDOW, "{picture}");
            assert!(bytes.len() < 150_000, "{picture}: {} bytes", bytes.len());
        }
    }
}

/// Width and height of the browser's window on a desk, as a PNG has them (PNG specification section 11.2.1).
const WINDOW: [u8; 8] = (1280_u64 << 32 | 800).to_be_bytes();

/// The level of each heading.
fn headings(text: &str) -> Vec<usize> {
    let level = |line: &str| line.split_once(' ').map(|(marks, _)| marks.len());
    prose(text).filter(|line| line.starts_with('#')).filter_map(level).collect()
}

fn rows(text: &str) -> Vec<&str> {
    prose(text).filter(|line| line.starts_with('|')).collect()
}

/// What a row has between backticks, in any order: the words around it are those of its language.
fn code(row: &str) -> Vec<&str> {
    let mut code: Vec<_> = row.split('`').skip(1).step_by(2).collect();
    code.sort_unstable();
    code
}

/// A shell that does one command after the other.
struct Shell {
    _process: Guarded,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    /// Where curl's own settings are.
    settings: PathBuf,
    /// What it was told to remember.
    remembered: String,
}

impl Shell {
    fn new(settings: &Path) -> Self {
        // Errors without figures of progress, and no proxy that the environment names.
        std::fs::write(settings.join(".curlrc"), "silent\nshow-error\nnoproxy = \"*\"\n").expect("writes");
        let mut process = Guarded::start(&mut plain_shell(settings));
        let to = process.child().stdin.take().expect("a pipe");
        let from = BufReader::new(process.child().stdout.take().expect("a pipe"));
        Self { _process: process, to, from, settings: settings.to_owned(), remembered: String::new() }
    }

    /// What the command prints; it has to succeed.
    fn run(&mut self, command: &str) -> String {
        if !command.starts_with("curl ") {
            self.remembered += &format!("{command}\n");
        }
        writeln!(self.to, "{command}\nended=$?; echo; echo \"ended with $ended\"")
            .expect("the shell is there");
        let mut said = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.from.read_line(&mut line).expect("text"), 0, "the shell is gone");
            if let Some(status) = line.strip_prefix("ended with ") {
                assert_eq!(status.trim(), "0", "{command}");
                return said.trim().to_owned();
            }
            said += &line;
        }
    }

    /// Runs a command that does not end by itself until it prints the line `end`, while `meanwhile` is done
    /// again and again; then it is ended as by Ctrl-C.
    fn run_until(&self, command: &str, end: &str, meanwhile: impl Fn()) {
        let mut process = Guarded::start(&mut plain_shell(&self.settings));
        let mut to = process.child().stdin.take().expect("a pipe");
        writeln!(to, "{}exec {command}", self.remembered).expect("the shell is there");
        let mut from = BufReader::new(process.child().stdout.take().expect("a pipe"));
        // What it is to print may happen before it listens.
        let (tell, told) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            for line in from.by_ref().lines().map_while(Result::ok) {
                // Nobody listens any more when what was waited for has come.
                let _ = tell.send(line);
            }
        });
        wait_for(end, || {
            meanwhile();
            told.try_iter().any(|line| line == end).then_some(())
        });
        process.signal(Signal::SIGINT);
        process.ended();
        reader.join().expect("it reads to the end");
    }
}

fn plain_shell(settings: &Path) -> Command {
    let mut command = Command::new("sh");
    command.env("CURL_HOME", settings).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// The daemon as README.md starts it; `listen` is the API's place if it is not the usual one.
fn serve(folder: &Path, backend: &str, listen: Option<&str>) -> Gateway {
    Gateway::start_by(folder, &[ADDRESS], backend, &[], |_, _| {
        let mut command = Command::new(program());
        command.args(["serve", "--config", SAMPLE]).env("PORTCULLIS_FILTER_BACKEND", backend);
        command.envs(listen.map(|listen| ("PORTCULLIS_API_LISTEN", listen)));
        command
    })
}

fn the_calls_of_the_readme_do_what_it_says(backend: &str) {
    if !(require::root() && require::file("/usr/bin/curl", "curl")) {
        return;
    }
    hide(&["/var/lib", "/run"]);
    // Where the harness looks for the state folder.
    let folder = tempfile::tempdir().expect("a folder");
    symlink("/var/lib/portcullis", folder.path().join("state")).expect("links");
    for address in ["10.0.0.7/32", "10.0.0.8/32"] {
        run("ip", &["address", "add", address, "dev", "lo"]);
    }
    Target::at("10.0.0.7:5901").echo();

    let mut gateway = serve(folder.path(), backend, None);
    assert_eq!((gateway.ready("api").as_str(), gateway.ready("metrics").as_str()), URLS);
    let mut shell = Shell::new(folder.path());
    let mut session = None;
    for command in commands() {
        if command.contains("--unix-socket") {
            std::fs::create_dir("/run/portcullis").expect("makes the folder");
            assert!(gateway.stop().success());
            gateway = serve(folder.path(), backend, Some("unix:/run/portcullis/api.sock"));
        }
        if command.ends_with("/events") {
            shell.run_until(&command, "event: instance.put", || gateway.add_instance("i-1", 5_900));
            continue;
        }
        let said = shell.run(&command);
        check(&command, &said);
        // Somebody uses the first broker, for there to be a session.
        if command.contains("-X POST") && command.contains("/v1/brokers") && session.is_none() {
            let mut used =
                open(&Broker::read(serde_json::from_str(&said).expect("JSON"))).expect("a session");
            echoes(&mut used, b"hello");
            session = Some(used);
        }
    }
    let mut session = session.expect("a broker was opened");
    assert_eq!(closed(&mut session).map(|(code, _)| code), Some(4001));
    assert_eq!(gateway.stop().code(), Some(0));
}

const URLS: (&str, &str) = ("http://127.0.0.1:8700", "http://127.0.0.1:9700");

/// The answer has the shape of one that says yes.
fn check(command: &str, said: &str) {
    let Some((method, path)) = called(command) else {
        assert!(!command.starts_with("curl"), "{command}");
        assert_eq!(said, "", "{command}");
        return;
    };
    match path.as_str() {
        "/metrics" => assert!(said.contains("\nportcullis_brokers{state=\"open\"} "), "{said}"),
        "/healthz" => assert_eq!(said, "ok"),
        vv if vv.ends_with("/console.vv") => assert!(said.starts_with("[virt-viewer]\n"), "{said}"),
        rdp if rdp.ends_with("/console.rdp") => assert!(said.starts_with("full address:s:"), "{said}"),
        "/readyz" => assert_eq!(said, "ready"),
        _ if method == "DELETE" => assert_eq!(said, "", "{command}"),
        _ => {
            let answer: Value = serde_json::from_str(said).unwrap_or_else(|_| panic!("{command}: {said}"));
            assert!(answer.get("status").is_none() && answer.get("code").is_none(), "{command}: {answer}");
            for name in fields(&method, &path, command) {
                assert!(answer.get(name).is_some(), "{command} lacks {name}: {answer}");
            }
        }
    }
}

/// What the answer to a call has.
fn fields(method: &str, path: &str, command: &str) -> &'static [&'static str] {
    match (method, path) {
        (_, "/iaas/") if command.contains("CreateBrokers") => &["action", "ret_code", "broker_set"],
        (_, "/iaas/") if command.contains("DescribeBrokers") => &["action", "broker_set", "total_count"],
        (_, "/iaas/") if command.contains("DeleteBrokers") => &["action", "ret_code", "brokers"],
        (_, "/iaas/") => &["action", "ret_code", "instance_set", "total_count"],
        (_, "/openapi.json") => &["openapi", "paths", "components"],
        ("POST", "/v1/instances") => &["created", "updated"],
        ("POST", "/v1/brokers") => &[
            "broker_id",
            "broker_host",
            "broker_ip",
            "broker_port",
            "instance_id",
            "token",
            "ws_url",
            "console_url",
        ],
        ("GET", "/v1/instances" | "/v1/brokers" | "/v1/sessions") => &["items"],
        ("GET", "/v1/status") => &["version", "brokers_open", "sessions_live", "store"],
        (_, path) if path.starts_with("/v1/instances/") => &["instance_id", "host", "graphics_port"],
        (_, path) if path.starts_with("/v1/brokers/") => &["broker_id", "broker_port", "sessions"],
        (_, path) if path.starts_with("/v1/sessions/") => &["session_id", "client", "state"],
        _ => panic!("{method} {path} is new here"),
    }
}
