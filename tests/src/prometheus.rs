//! A real Prometheus that scrapes a gateway, and the tool that checks what it would read.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::gateway::{agent, call};
use crate::process::Guarded;
use crate::{require, wait_for};

/// Whether there are server and tool.
pub fn is_here() -> bool {
    require::file("/usr/bin/prometheus", "prometheus") && require::file("/usr/bin/promtool", "prometheus")
}

/// A server. It is killed when the value is dropped.
pub struct Prometheus {
    _process: Guarded,
    url: String,
}

impl Prometheus {
    /// Starts one that scrapes `http://TARGET/metrics` each second; its files are in `folder`.
    ///
    /// # Panics
    /// It does not start.
    pub fn scrape(folder: &Path, target: &str) -> Self {
        let config = folder.join("prometheus.yml");
        let job = format!("{{job_name: gateway, static_configs: [{{targets: ['{target}']}}]}}");
        let text = format!("{{global: {{scrape_interval: 1s}}, scrape_configs: [{job}]}}\n");
        std::fs::write(&config, text).expect("writes");
        // A port that is free now may be somebody's a moment later; then it ends, and another is tried.
        wait_for("a Prometheus", || {
            let address = free_address();
            let log = std::fs::File::create(folder.join("prometheus.log")).expect("a log");
            let mut command = Command::new("prometheus");
            command
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
                .arg(format!("--web.listen-address={address}"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log);
            let mut process = Guarded::start(&mut command);
            let url = format!("http://{address}");
            let ended = wait_for("Prometheus to be ready", || {
                let ended = process.child().try_wait().expect("our child").is_some();
                let ready = agent().get(format!("{url}/-/ready")).call();
                (ended || ready.is_ok_and(|answer| answer.status() == 200)).then_some(ended)
            });
            (!ended).then_some(Self { _process: process, url })
        })
    }

    /// What an instant query finds: one number for each series.
    ///
    /// # Panics
    /// It is not answered.
    pub fn query(&self, expression: &str) -> Vec<f64> {
        let request = agent().get(format!("{}/api/v1/query", self.url)).query("query", expression);
        let (status, text) = call(request.call());
        assert_eq!(status, 200, "{text}");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        let found = answer["data"]["result"].as_array().expect("a list").iter();
        found.map(|series| series["value"][1].as_str().expect("text").parse().expect("a number")).collect()
    }
}

fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

/// What `promtool check metrics` says of a page: whether it is good, and its complaints.
///
/// # Panics
/// It cannot be run.
pub fn check(page: &str) -> (bool, String) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool starts");
    // It reads all before it says anything.
    child.stdin.take().expect("a pipe").write_all(page.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}
