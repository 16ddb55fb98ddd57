//! `portcullis doctor`: what `serve` would run with on this machine, and what would make it better. It looks
//! and tries, and changes nothing: nothing is attached, made, locked or written.

mod addresses;
mod clock;
mod firewall;
mod gate;
mod kernel;
mod limits;
mod pinned;
mod ports;
mod privileges;
mod socket_file;
mod sockets;
mod store;
mod tls;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::config::{Backend, Config};

use super::say;

#[derive(Args)]
pub struct Options {
    /// Configuration file of the daemon.
    #[arg(long, env = "PORTCULLIS_CONFIG", default_value = "/etc/portcullis/portcullis.toml")]
    config: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be, or not wanted.
    Ok,
    /// `serve` would run with less than it could.
    Degraded,
    /// `serve` would not start.
    Missing,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Missing => "missing",
        }
    }
}

/// One check.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    /// What is there.
    seen: String,
    /// What to do about it, in one line.
    remedy: Option<String>,
}

impl Check {
    fn ok(name: &'static str, seen: impl Into<String>) -> Self {
        Self { name, state: State::Ok, seen: seen.into(), remedy: None }
    }

    fn degraded(name: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, state: State::Degraded, seen: seen.into(), remedy: Some(remedy.into()) }
    }

    fn missing(name: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, state: State::Missing, seen: seen.into(), remedy: Some(remedy.into()) }
    }

    /// Something that the filter needs: without it `serve` falls back, or does not start if it may not.
    fn gate(
        backend: Backend,
        name: &'static str,
        seen: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        match backend {
            Backend::Ebpf | Backend::Nft => Self::missing(name, seen, remedy),
            Backend::Auto | Backend::None => Self::degraded(name, seen, remedy),
        }
    }

    /// What could not be looked at for want of rights; that alone keeps `serve` from nothing.
    fn not_known(name: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, state: State::Ok, seen: seen.into(), remedy: Some(remedy.into()) }
    }
}

/// All that was found.
#[derive(Debug, Serialize)]
struct Report {
    checks: Vec<Check>,
    #[serde(flatten)]
    would: Would,
}

/// What `serve` would say of itself in its line `ready`; `-` where it would not come to that.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Would {
    backend: String,
    hook: String,
    steering: String,
}

pub fn run(options: &Options) -> ExitCode {
    let report = examine(options);
    if options.json {
        match serde_json::to_string_pretty(&report) {
            Ok(json) => say(json),
            Err(error) => eprintln!("portcullis: {error}"),
        }
    } else {
        tell(&report);
    }
    ExitCode::from(u8::from(report.checks.iter().any(|check| check.state != State::Ok)))
}

fn examine(options: &Options) -> Report {
    let name = options.config.display();
    let (read, config) = match Config::load(&options.config) {
        Ok(config) => (Check::ok("config", format!("{name}")), Some(config)),
        Err(error) => {
            let remedy = "correct it, or name another file: --config (deploy/portcullis.toml is a sample)";
            (Check::missing("config", format!("{name}: {error}"), remedy), None)
        }
    };
    let mut checks = vec![read];
    let backend = config.as_ref().map_or(Backend::Auto, |config| config.backend);
    let hook = config.as_ref().and_then(|config| config.hook);
    checks.push(kernel::version(backend, hook));
    let (gate, would) = gate::checks(config.as_ref());
    if matches!(backend, Backend::Auto | Backend::Ebpf) {
        checks.push(kernel::btf(backend, would.backend == "ebpf"));
    }
    // What is pinned was loaded by somebody who had them.
    if backend != Backend::None && !gate.iter().any(|check| check.name == pinned::PINS) {
        checks.push(privileges::capabilities(backend));
    }
    checks.extend(gate);
    // All others are about what the configuration names.
    if let Some(config) = &config {
        let daemon = store::daemon(&config.state_dir);
        checks.push(addresses::check(config));
        checks.push(limits::descriptors(config, would.steering == "sk_lookup"));
        checks.push(ports::local(config));
        checks.extend(tls::checks(config));
        checks.extend(sockets::checks(config, daemon, would.backend == "ebpf"));
        checks.push(firewall::check(config));
        checks.push(store::check(config, daemon));
    }
    checks.extend(clock::check());
    Report { checks, would }
}

fn tell(report: &Report) {
    for Check { name, state, seen, remedy } in &report.checks {
        say(format_args!("{:<9} {name:<13} {seen}", state.name()));
        if let Some(remedy) = remedy {
            say(format_args!("{:<9} {:<13} -> {remedy}", "", ""));
        }
    }
    let Would { backend, hook, steering } = &report.would;
    say(format_args!("serve would run with backend={backend} hook={hook} steering={steering}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_shape_that_is_promised() {
        let would = Would { backend: "ebpf".into(), hook: "tc".into(), steering: "sk_lookup".into() };
        let checks = vec![Check::ok("a", "x"), Check::degraded("b", "y", "do z")];
        let json = serde_json::to_value(Report { checks, would }).expect("JSON");
        let expected = serde_json::json!({
            "checks": [
                { "name": "a", "state": "ok", "seen": "x", "remedy": null },
                { "name": "b", "state": "degraded", "seen": "y", "remedy": "do z" },
            ],
            "backend": "ebpf", "hook": "tc", "steering": "sk_lookup",
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn without_the_filter_serve_starts_unless_it_is_demanded() {
        assert_eq!(Check::gate(Backend::Auto, "a", "x", "y").state, State::Degraded);
        for demanded in [Backend::Ebpf, Backend::Nft] {
            assert_eq!(Check::gate(demanded, "a", "x", "y").state, State::Missing);
        }
    }
}
