//! The link to a console, and how it is reached from another machine.

use std::env;
use std::net::IpAddr;

use anyhow::{Context, Result};
use nix::unistd::gethostname;
use serde_json::Value;

/// What the daemon answers when a broker is opened, as far as we show it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) console_url: String,
    pub(crate) broker_ip: IpAddr,
    pub(crate) broker_port: u16,
}

impl Link {
    pub(crate) fn parse(json: &str) -> Result<Self> {
        let answer: Value = serde_json::from_str(json)?;
        let text =
            |key: &str| answer.get(key).and_then(Value::as_str).with_context(|| format!("no text `{key}`"));
        let port = answer.get("broker_port").and_then(Value::as_u64).context("no number `broker_port`")?;
        Ok(Self {
            console_url: text("console_url")?.to_owned(),
            broker_ip: text("broker_ip")?.parse().context("`broker_ip` is not an address")?,
            broker_port: port.try_into().context("`broker_port` is not a port")?,
        })
    }

    /// Forwards the port, under the same number, from the machine that it is typed on.
    pub(crate) fn ssh_command(&self, host: &str) -> String {
        let (ip, port) = (bracketed(self.broker_ip), self.broker_port);
        format!("ssh -L {port}:{ip}:{port} {host}")
    }

    /// The link on that machine.
    pub(crate) fn local_url(&self) -> String {
        let Some((scheme, rest)) = self.console_url.split_once("://") else {
            return self.console_url.clone();
        };
        let path = rest.find(['/', '?', '#']).map_or("", |at| &rest[at..]);
        format!("{scheme}://localhost:{}{path}", self.broker_port)
    }
}

/// How this machine is called by who logs in to it: as they did, if they have.
pub(crate) fn this_machine() -> String {
    // "client-address client-port server-address server-port", see ssh(1).
    let ssh = env::var("SSH_CONNECTION").ok();
    let seen = ssh.as_deref().and_then(|connection| connection.split(' ').nth(2)).map(str::to_owned);
    seen.or_else(|| gethostname().ok()?.into_string().ok()).unwrap_or_else(|| "HOST".into())
}

fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{"console_url": "http://127.0.80.1:10007/?x=1#token=t", "broker_ip": "127.0.80.1",
        "broker_port": 10007, "broker_id": "b-1"}"#;

    #[test]
    fn the_link_works_through_ssh() {
        let link = Link::parse(ANSWER).expect("an answer");
        assert_eq!(link.ssh_command("node1"), "ssh -L 10007:127.0.80.1:10007 node1");
        assert_eq!(link.local_url(), "http://localhost:10007/?x=1#token=t");
    }

    #[test]
    fn an_answer_without_its_fields_is_refused() {
        for answer in ["", "{}", "[]", &ANSWER.replace("10007,", "70000,")] {
            assert!(Link::parse(answer).is_err(), "{answer}");
        }
    }
}
