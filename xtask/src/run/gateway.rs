//! The daemon of the run, and what we ask of it through its own command line.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::guest::At;
use super::link::Link;
use super::member::Member;
use crate::terminal::Progress;
use crate::{exec, signals};

/// How long it may take to say that it is ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running daemon; ended when dropped.
#[derive(Debug)]
pub(crate) struct Gateway {
    member: Member,
    ready: Ready,
    binary: PathBuf,
    key_file: PathBuf,
}

/// The line on stdout with which the daemon says that it serves.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) api: String,
    pub(crate) metrics: String,
    pub(crate) backend: String,
    pub(crate) hook: String,
    pub(crate) steering: String,
}

impl Gateway {
    /// Starts it with broker address `host` and all its files in `folder`, and waits until it serves.
    pub(crate) fn start(binary: PathBuf, host: IpAddr, folder: &Path) -> Result<Self> {
        let (config, state) = (folder.join("portcullis.toml"), folder.join("state"));
        fs::write(&config, configuration(host, folder, &state)).context("write the configuration")?;
        let mut serve = Command::new(&binary);
        serve.arg("serve").arg("--config").arg(&config);
        let mut member = Member::start("gateway", &serve, folder)?;
        let ready = wait_until_ready(&mut member)?;
        Ok(Self { member, ready, binary, key_file: state.join("api.key") })
    }

    pub(crate) fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Where the API's key is.
    pub(crate) fn key_file(&self) -> &Path {
        &self.key_file
    }

    /// An error if it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.member.check()
    }

    /// Tells it of an instance whose console is on this machine.
    pub(crate) fn add_instance(&self, id: &str, at: &At) -> Result<()> {
        let mut add = self.client(&["instance", "add", id, "--hypervisor", "kvm"]);
        match at {
            At::Port(port, protocol) => {
                add.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--protocol", protocol])
            }
            At::Socket(name) => add.args(["--socket", name, "--protocol", "serial"]),
        };
        exec::read(&mut add).map(drop)
    }

    /// What shows a terminal of it in another one.
    pub(crate) fn terminal_command(&self, id: &str) -> String {
        format!("{} console {id}", self.command())
    }

    /// What shows a desktop of it in a native viewer.
    pub(crate) fn viewer_command(&self, id: &str) -> String {
        format!("{} open {id} --vv desk.vv && remote-viewer desk.vv", self.command())
    }

    fn command(&self) -> String {
        let (binary, api, key) = (self.binary.display(), &self.ready.api, self.key_file.display());
        format!("{binary} --url {api} --key-file {key}")
    }

    /// Opens a broker to an instance.
    pub(crate) fn open_broker(&self, id: &str) -> Result<Link> {
        let answer = exec::read(&mut self.client(&["broker", "create", id, "--json"]))?;
        Link::parse(&answer).context("read the daemon's answer to `broker create`")
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .env("PORTCULLIS_URL", &self.ready.api)
            .env("PORTCULLIS_KEY_FILE", &self.key_file);
        command
    }
}

impl Ready {
    /// Reads `ready api=URL metrics=URL backend=NAME hook=NAME steering=NAME`.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        if words.next() != Some("ready") {
            return None;
        }
        let mut ready = Self::default();
        for word in words {
            let (key, value) = word.split_once('=')?;
            match key {
                "api" => value.clone_into(&mut ready.api),
                "metrics" => value.clone_into(&mut ready.metrics),
                "backend" => value.clone_into(&mut ready.backend),
                "hook" => value.clone_into(&mut ready.hook),
                "steering" => value.clone_into(&mut ready.steering),
                // One that a later daemon adds.
                _ => {}
            }
        }
        (!ready.api.is_empty()).then_some(ready)
    }
}

fn wait_until_ready(member: &mut Member) -> Result<Ready> {
    let mut progress = Progress::new("waiting for the gateway");
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        signals::check()?;
        // Only whole lines: the daemon may be writing.
        let written = member.stdout();
        let whole = written.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        if let Some(ready) = whole.filter_map(Ready::parse).next() {
            return Ok(ready);
        }
        member.check()?;
        progress.tick();
        thread::sleep(Duration::from_millis(50));
    }
    bail!("the gateway was not ready within {} s", PATIENCE.as_secs())
}

/// Ports 0 for what only we ask; the range is the daemon's usual one.
fn configuration(host: IpAddr, folder: &Path, state: &Path) -> String {
    format!(
        "broker_host = \"{host}\"\n\
         addresses = [\"{host}\"]\n\
         state_dir = {:?}\n\n\
         [range]\nfirst = 10000\nlast = 15000\n\n\
         [api]\nlisten = \"127.0.0.1:0\"\n\n\
         [metrics]\nlisten = \"127.0.0.1:0\"\n\n\
         [broker]\nttl_s = 3600\n\n\
         [targets]\nunix_root = {:?}\n",
        state.display().to_string(),
        folder.display().to_string()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_names_what_was_chosen() {
        let line = "ready api=http://127.0.0.1:1 metrics=http://127.0.0.1:2 backend=ebpf hook=tc steering=sk_lookup more=x";
        let ready = Ready::parse(line).expect("a ready line");
        assert_eq!(
            (ready.api.as_str(), ready.metrics.as_str()),
            ("http://127.0.0.1:1", "http://127.0.0.1:2")
        );
        assert_eq!(
            (ready.backend.as_str(), ready.hook.as_str(), ready.steering.as_str()),
            ("ebpf", "tc", "sk_lookup")
        );
    }

    #[test]
    fn other_lines_are_not_the_ready_line() {
        for line in ["", "ready", "starting api=http://127.0.0.1:1", "ready nonsense", "ready backend=none"] {
            assert_eq!(Ready::parse(line), None, "{line}");
        }
    }

    #[test]
    fn the_configuration_names_the_address_twice() {
        let text = configuration(IpAddr::from([127, 0, 80, 1]), Path::new("/x"), Path::new("/x/state"));
        assert_eq!(text.matches("\"127.0.80.1\"").count(), 2);
        assert!(text.contains("state_dir = \"/x/state\"\n"));
    }
}
