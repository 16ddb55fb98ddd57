//! A gateway under test: the real program, with a state folder of its own.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::process::Guarded;
use crate::{PATIENCE, wait_for};

/// Broker address of all tests on loopback.
pub const ADDRESS: &str = "127.0.80.1";

/// A running gateway. It is killed when the value is dropped.
pub struct Gateway {
    process: Guarded,
    folder: PathBuf,
    ready: String,
    api: Api,
}

/// A broker that was opened.
#[derive(Clone, Debug)]
pub struct Broker {
    /// Its id.
    pub id: String,
    /// Address and port.
    pub endpoint: SocketAddr,
    /// The ticket.
    pub token: String,
    /// The whole answer.
    pub answer: Value,
}

/// The program under test: `PORTCULLIS_BIN`, or what `cargo build` made in this workspace.
pub fn program() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debug/portcullis");
    std::env::var_os("PORTCULLIS_BIN").map_or_else(built, PathBuf::from)
}

impl Gateway {
    /// Starts one on [`ADDRESS`] with `filter.backend = backend`, and `more` lines of configuration, each
    /// with its whole key.
    ///
    /// # Panics
    /// It does not become ready.
    pub fn start(folder: &Path, backend: &str, more: &[&str]) -> Self {
        Self::start_by(folder, &[ADDRESS], backend, more, |command, _| command)
    }

    /// The same on `addresses`, by a command that `wrap` makes of the usual one.
    ///
    /// # Panics
    /// It does not become ready.
    pub fn start_by(
        folder: &Path,
        addresses: &[&str],
        backend: &str,
        more: &[&str],
        wrap: impl FnOnce(Command, &Path) -> Command,
    ) -> Self {
        let command = Self::command(folder, addresses, backend, more);
        let mut command = wrap(command, folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log_file(folder));
        let mut process = Guarded::start(&mut command);
        let output = process.child().stdout.take().expect("a pipe");
        let mut ready = String::new();
        BufReader::new(output).read_line(&mut ready).expect("a line");
        assert!(ready.starts_with("ready "), "the gateway is not ready: {ready:?}\n{}", log(folder));
        let api = Api { url: word(&ready, "api"), key: read_key(folder), agent: agent() };
        Self { process, folder: folder.to_owned(), ready, api }
    }

    /// The command that starts one on `addresses`. Its log goes to a file in `folder`.
    ///
    /// # Panics
    /// The folder cannot be written.
    pub fn command(folder: &Path, addresses: &[&str], backend: &str, more: &[&str]) -> Command {
        let state = folder.join("state");
        let config = folder.join("portcullis.toml");
        // A client that has nothing to do in a test answers no ping meanwhile, and on a busy machine that takes long.
        let is_impatient = more.iter().any(|line| line.starts_with("session.peer_timeout_s"));
        let lines = [
            if is_impatient { String::new() } else { "session.peer_timeout_s = 600".into() },
            format!("addresses = {addresses:?}"),
            format!("state_dir = {state:?}"),
            "api.listen = \"127.0.0.1:0\"".into(),
            "metrics.listen = \"127.0.0.1:0\"".into(),
            format!("filter.backend = {backend:?}"),
        ];
        std::fs::write(&config, format!("{}\n{}\n", lines.join("\n"), more.join("\n"))).expect("writes");
        let mut command = Command::new(program());
        command
            .arg("serve")
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file(folder));
        command
    }

    /// Asks API and metrics by way of `agent` from now on.
    #[must_use]
    pub fn asked_by(mut self, agent: ureq::Agent) -> Self {
        self.api.agent = agent;
        self
    }

    /// The command line, with the API and its key in its environment.
    pub fn command_line(&self) -> Command {
        let mut command = Command::new(program());
        command.env("PORTCULLIS_URL", &self.api.url);
        command.env("PORTCULLIS_KEY_FILE", self.folder.join("state/api.key"));
        command
    }

    /// The control API.
    pub const fn api(&self) -> &Api {
        &self.api
    }

    /// A value of the line that it printed when it was ready, `backend` for one.
    pub fn ready(&self, name: &str) -> String {
        word(&self.ready, name)
    }

    /// Where it keeps its files.
    pub fn state_dir(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        log(&self.folder)
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Whether it runs.
    pub fn lives(&self) -> bool {
        self.process.lives()
    }

    /// Ends it by a signal, if it has not ended yet.
    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        if self.lives() {
            self.signal(signal);
        }
        self.ended()
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        self.process.ended()
    }

    /// Stops it as a service manager does.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.ended()
    }

    /// Adds the instance `id`, whose console is at `port` on loopback.
    pub fn add_instance(&self, id: &str, port: u16) {
        self.add_instance_speaking(id, "vnc", port);
    }

    /// The same for a console that speaks `protocol`.
    pub fn add_instance_speaking(&self, id: &str, protocol: &str, port: u16) {
        let body = json!({ "host": "127.0.0.1", "graphics_port": port, "graphics_protocol": protocol });
        let (status, answer) = self.api.put(&format!("/v1/instances/{id}"), &body);
        assert!(matches!(status, 200 | 201), "{status} {answer}");
    }

    /// Opens a broker for the console at `port` on loopback.
    pub fn open(&self, port: u16) -> Broker {
        let id = format!("i-{port}");
        self.add_instance(&id, port);
        self.open_again(&id)
    }

    /// The same for a console that speaks `protocol`.
    pub fn open_speaking(&self, protocol: &str, port: u16) -> Broker {
        let id = format!("i-{port}");
        self.add_instance_speaking(&id, protocol, port);
        self.open_again(&id)
    }

    /// Adds an instance as `body` says, and opens a broker for it.
    pub fn open_as(&self, id: &str, body: &Value) -> Broker {
        let (status, answer) = self.api.put(&format!("/v1/instances/{id}"), body);
        assert!(matches!(status, 200 | 201), "{status} {answer}");
        self.open_again(id)
    }

    /// Opens a broker for an instance that was added.
    pub fn open_again(&self, instance_id: &str) -> Broker {
        let (status, answer) = self.api.post("/v1/brokers", &json!({ "instance_id": instance_id }));
        assert_eq!(status, 201, "{answer}");
        Broker::read(answer)
    }

    /// Opens a broker for an instance that was added, to which one native client may come from loopback.
    ///
    /// # Panics
    /// It is refused.
    pub fn open_native(&self, instance_id: &str) -> Broker {
        let wish = json!({ "instance_id": instance_id, "client": "127.0.0.0/24", "native": true });
        let (status, answer) = self.api.post("/v1/brokers", &wish);
        assert_eq!(status, 201, "{answer}");
        Broker::read(answer)
    }

    /// A metric, by its name with labels as on the page.
    ///
    /// # Panics
    /// It is not there.
    pub fn metric(&self, name: &str) -> f64 {
        let page = self.metrics();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no metric {name} in {page}")).parse().expect("a number")
    }

    /// Waits until a metric has a value.
    pub fn wait_metric(&self, name: &str, value: f64) {
        wait_for(&format!("{name} to be {value}"), || (self.metric(name) == value).then_some(()));
    }

    /// The whole page.
    pub fn metrics(&self) -> String {
        let (status, page) = call(self.api.agent.get(format!("{}/metrics", self.ready("metrics"))).call());
        assert_eq!(status, 200);
        page
    }
}

impl Broker {
    /// The instance.
    ///
    /// # Panics
    /// Never on an answer.
    pub fn instance(&self) -> &str {
        self.answer["instance_id"].as_str().expect("text")
    }

    /// The answer to `POST /v1/brokers`.
    ///
    /// # Panics
    /// It is none.
    pub fn read(answer: Value) -> Self {
        let text =
            |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("no {name}: {answer}")).to_owned();
        let ip: IpAddr = text("broker_ip").parse().expect("an address");
        let port = answer["broker_port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
        Self { id: text("broker_id"), endpoint: SocketAddr::new(ip, port), token: text("token"), answer }
    }
}

/// A control API.
#[derive(Clone, Debug)]
pub struct Api {
    /// Where it is.
    pub url: String,
    /// Its key.
    pub key: String,
    agent: ureq::Agent,
}

impl Api {
    /// The same, over one connection that is kept.
    #[must_use]
    pub fn kept(self) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
        Self { agent: config.max_idle_connections(1).timeout_global(Some(PATIENCE)).build().into(), ..self }
    }

    /// Status and body; JSON null where there is none.
    pub fn get(&self, path: &str) -> (u16, Value) {
        json_of(call(self.agent.get(self.at(path)).header("X-API-Key", &self.key).call()))
    }

    /// An answer that is text.
    ///
    /// # Panics
    /// It is a refusal.
    pub fn get_text(&self, path: &str) -> String {
        let (status, text) = call(self.agent.get(self.at(path)).header("X-API-Key", &self.key).call());
        assert_eq!(status, 200, "{text}");
        text
    }

    /// See [`Self::get`].
    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        json_of(call(self.agent.post(self.at(path)).header("X-API-Key", &self.key).send_json(body)))
    }

    /// See [`Self::get`].
    pub fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        json_of(call(self.agent.put(self.at(path)).header("X-API-Key", &self.key).send_json(body)))
    }

    /// See [`Self::get`].
    pub fn delete(&self, path: &str) -> (u16, Value) {
        json_of(call(self.agent.delete(self.at(path)).header("X-API-Key", &self.key).call()))
    }

    /// The same while the gateway may die: `None` without an answer.
    pub fn try_post(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let request = self.agent.post(self.at(path)).header("X-API-Key", &self.key);
        try_call(request.send_json(body)).map(json_of)
    }

    /// See [`Self::try_post`].
    pub fn try_put(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let request = self.agent.put(self.at(path)).header("X-API-Key", &self.key);
        try_call(request.send_json(body)).map(json_of)
    }

    /// See [`Self::try_post`].
    pub fn try_delete(&self, path: &str) -> Option<(u16, Value)> {
        let request = self.agent.delete(self.at(path)).header("X-API-Key", &self.key);
        try_call(request.call()).map(json_of)
    }

    /// Sends `body` as it is; see [`Self::get`].
    ///
    /// A body that is too long by one byte is read to its end before it is refused. Of a longer one the
    /// rest would be left unread, which resets the connection, and the answer may be lost with it.
    pub fn post_text(&self, path: &str, content_type: &str, body: &str) -> (u16, Value) {
        let request = agent().post(self.at(path)).header("X-API-Key", &self.key);
        json_of(call(request.header("Content-Type", content_type).send(body)))
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

/// `before`, as many `x` as make `len` bytes of it all, and `after`.
///
/// # Panics
/// They are longer than that.
pub fn padded(before: &str, after: &str, len: usize) -> String {
    format!("{before}{}{after}", "x".repeat(len - before.len() - after.len()))
}

/// Longest body of most calls, in bytes.
pub const BODY_MAX: usize = 64 * 1024;

/// A client that takes every status for an answer.
pub fn agent() -> ureq::Agent {
    agent_with(ureq::tls::TlsConfig::default())
}

/// The same, with what it needs for https.
pub fn agent_with(tls: ureq::tls::TlsConfig) -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
    // A connection that is kept would be one of the gateway's descriptors, which tests count.
    config.max_idle_connections(0).timeout_global(Some(PATIENCE)).tls_config(tls).build().into()
}

/// Status and text.
///
/// # Panics
/// There is no answer.
pub fn call(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> (u16, String) {
    let mut response = result.expect("an answer");
    (response.status().as_u16(), response.body_mut().read_to_string().expect("text"))
}

/// Status and text; `None` where the other side died before all was said.
fn try_call(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Option<(u16, String)> {
    let mut response = result.ok()?;
    Some((response.status().as_u16(), response.body_mut().read_to_string().ok()?))
}

fn json_of((status, text): (u16, String)) -> (u16, Value) {
    (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") })
}

fn word(line: &str, name: &str) -> String {
    let mut words = line.split_whitespace().filter_map(|word| word.split_once('='));
    words.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).expect("a word of the ready line")
}

fn read_key(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("state/api.key")).expect("a key").trim().to_owned()
}

fn log_file(folder: &Path) -> std::fs::File {
    std::fs::File::options().create(true).append(true).open(folder.join("log")).expect("a log")
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// Makes each test run twice: behind filter and steering in a namespace of its own, and on plain
/// listeners, which need no privilege.
#[macro_export]
macro_rules! behind_every_gate {
    ($($name:ident),+ $(,)?) => {
        mod behind_ebpf {
            $(#[test]
            fn $name() {
                if $crate::require::kernel() {
                    $crate::namespace::in_namespace(|| super::$name("ebpf"));
                }
            })+
        }

        mod on_plain_listeners {
            $(#[test]
            fn $name() {
                if $crate::require::root() {
                    $crate::namespace::in_namespace(|| super::$name("none"));
                } else {
                    super::$name("none");
                }
            })+
        }
    };
}

/// Makes each test run behind nftables in a namespace of its own, beside [`behind_every_gate!`].
#[macro_export]
macro_rules! behind_nftables {
    ($($name:ident),+ $(,)?) => {
        mod behind_nft {
            $(#[test]
            fn $name() {
                if $crate::require::nft() {
                    $crate::namespace::in_namespace(|| super::$name("nft"));
                }
            })+
        }
    };
}

/// Makes each test run three times: [`behind_every_gate!`] and [`behind_nftables!`].
#[macro_export]
macro_rules! behind_every_filter {
    ($($name:ident),+ $(,)?) => {
        $crate::behind_every_gate!($($name),+);
        $crate::behind_nftables!($($name),+);
    };
}
