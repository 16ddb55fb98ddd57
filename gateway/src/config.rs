//! Configuration in two steps: [`Raw`] is what was written, [`Config`] what it means, checked once.
//!
//! Text and environment are arguments, so tests need neither files nor variables.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use portcullis_ebpf::layout::Limits as FilterLimits;
use serde::Deserialize;

use crate::broker::channels::Channels;
use crate::broker::session::Limits;
use crate::broker::web_origin::WebOrigin;
use crate::kernel::hook::Hook;
use crate::tls::{Clients, Identity};

use commands::Template;
use raw::Raw;

pub use listen::{At, Listen, UNIX};

pub mod commands;
mod listen;
mod raw;

/// Every key, as written in the file. `filter.backend` is `PORTCULLIS_FILTER_BACKEND` in the
/// environment.
pub const KEYS: [&str; 65] = [
    "broker_host",
    "addresses",
    "address_interface",
    "interfaces",
    "state_dir",
    "stop_grace_s",
    "cores",
    "allowed_origins",
    "reveal_passwords",
    "trusted_proxies",
    "range.first",
    "range.last",
    "range.exclude",
    "broker.ttl_s",
    "broker.rest_s",
    "session.first_byte_s",
    "session.header_s",
    "session.tls_s",
    "session.dial_s",
    "session.peer_timeout_s",
    "session.idle_s",
    "session.max_s",
    "session.bytes_per_s",
    "session.reconnect_s",
    "sessions.max",
    "sessions.per_instance",
    "sessions.per_client",
    "sessions.keep",
    "sessions.keep_days",
    "targets.allow",
    "targets.secrets",
    "targets.spice_channels_off",
    "targets.ca",
    "targets.insecure_tls",
    "targets.unix_root",
    "terminals.history",
    "terminals.commands",
    "filter.backend",
    "filter.hook",
    "filter.pins",
    "filter.source_per_s",
    "filter.source_burst",
    "filter.broker_per_s",
    "filter.broker_burst",
    "filter.open_host_firewall",
    "tls.certificate",
    "tls.key",
    "tls.more",
    "tls.broker_ports",
    "tls.client_ca",
    "tls.client_certificates",
    "api.listen",
    "api.tls",
    "api.client_certificates",
    "api.allow_plain",
    "api.socket_mode",
    "api.request_s",
    "api.connections",
    "metrics.listen",
    "metrics.tls",
    "metrics.client_certificates",
    "metrics.allow_plain",
    "metrics.socket_mode",
    "metrics.request_s",
    "metrics.connections",
];

/// Which filter is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The best that works here.
    Auto,
    /// eBPF, or no start.
    Ebpf,
    /// A table of nftables, or no start.
    Nft,
    /// Plain listeners.
    None,
}

/// Whether broker ports speak TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerTls {
    /// They do not.
    Off,
    /// To clients that begin with it.
    Optional,
    /// And nothing else.
    Required,
}

/// What the daemon is to be. Every value is checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name that clients are given.
    pub broker_host: String,
    /// Broker addresses, at least one.
    pub addresses: Vec<IpAddr>,
    /// The interface that addresses are put on which are nowhere; `None` leaves them to somebody else.
    pub address_interface: Option<String>,
    /// Interfaces of the filter: names, and patterns as shells have them; empty for those that carry the
    /// addresses.
    pub interfaces: Vec<String>,
    /// Where the daemon keeps its files.
    pub state_dir: PathBuf,
    /// Time that sessions have to end in.
    pub stop_grace: Duration,
    /// Relay threads.
    pub cores: usize,
    /// Whose pages may show a ticket in a cookie, beside the own ones.
    pub allowed_origins: Vec<WebOrigin>,
    /// Whether the API shows the passwords of consoles.
    pub reveal_passwords: bool,
    /// Proxies that are believed whom they speak for.
    pub trusted_proxies: Vec<IpNet>,
    /// Broker ports.
    pub range: RangeInclusive<u16>,
    /// Ports of the range that are never lent.
    pub exclude: HashSet<u16>,
    /// An unused broker is closed after this.
    pub ttl: Duration,
    /// A session waits so long for its client to come back; then it is over, and a used broker with it.
    pub reconnect: Duration,
    /// How many sessions there may be.
    pub limits: Limits,
    /// How many past sessions are kept, and for how long.
    pub keep_sessions: (u32, Duration),
    /// A closed port is not lent again for so long.
    pub rest: Duration,
    /// From a connection to its first byte.
    pub first_byte: Duration,
    /// From the first byte to the end of the head.
    pub header: Duration,
    /// From the first byte to the end of the TLS handshake.
    pub tls_handshake: Duration,
    /// To connect to a target.
    pub dial: Duration,
    /// A dead peer is noticed within this.
    pub peer_timeout: Duration,
    /// Longest time without payload; zero for no limit.
    pub idle: Duration,
    /// Longest session; zero for no limit.
    pub max: Duration,
    /// What a session may move in each direction; `None` for no limit.
    pub bytes_per_s: Option<NonZeroU64>,
    /// Networks that targets may be in; empty for all.
    pub allow: Vec<IpNet>,
    /// Whether the gateway authenticates to consoles itself; otherwise clients do.
    pub inject_secrets: bool,
    /// Which channels of SPICE may be opened.
    pub spice_channels: Channels,
    /// The folder that Unix sockets of targets lie under; `None` where there are none.
    pub unix_root: Option<PathBuf>,
    /// Bytes of a terminal's output that are kept while a session of it lives.
    pub history: usize,
    /// Commands for terminals, by their names.
    pub commands: HashMap<String, Template>,
    /// Authorities for certificates of targets; `None` for the system's.
    pub target_ca: Option<PathBuf>,
    /// Whether there may be TLS with targets that anybody could be.
    pub insecure_target_tls: bool,
    /// Which filter is wanted.
    pub backend: Backend,
    /// Which hook is wanted; `None` chooses.
    pub hook: Option<Hook>,
    /// Where `kernel load` pins what outlives it.
    pub pins: PathBuf,
    /// Whether the range is let in by a firewall of the host that drops by default.
    pub open_host_firewall: bool,
    /// How fast the filter lets new connections in.
    pub filter_limits: FilterLimits,
    /// Certificates with their keys; none if TLS is not spoken at all.
    pub certificates: Vec<Identity>,
    /// Whether broker ports speak it; there is a certificate where they do.
    pub broker_tls: BrokerTls,
    /// Which certificates they ask clients for.
    pub broker_clients: Clients,
    /// The control API.
    pub api: Listen,
    /// Metrics and health.
    pub metrics: Listen,
}

/// What is wrong with a configuration: key, value, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(std::io::Error),
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("{0}")]
    Syntax(String),
    /// A value that cannot be meant.
    #[error("{key} = {value}: {problem}")]
    Value {
        /// As written in the file.
        key: &'static str,
        /// As written in the file.
        value: String,
        /// What would be right.
        problem: String,
    },
}

fn wrong(key: &'static str, value: impl std::fmt::Debug, problem: impl Into<String>) -> ConfigError {
    ConfigError::Value { key, value: format!("{value:?}"), problem: problem.into() }
}

impl Config {
    /// Reads `path` and the environment of this process.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(ConfigError::Read)?;
        Self::parse(&text, |name| std::env::var(name).ok())
    }

    /// Reads `text`; what `variable` knows goes before it.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn parse(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let syntax = |error: toml::de::Error| ConfigError::Syntax(error.to_string().trim_end().to_owned());
        let mut table: toml::Table = text.parse().map_err(syntax)?;
        for key in KEYS {
            if let Some(value) = variable(&variable_name(key)) {
                set(&mut table, key, &value)?;
            }
        }
        // Errors in the file should point at their place in it; only the environment has none.
        let raw = match toml::from_str::<Raw>(text) {
            Err(error) => return Err(syntax(error)),
            Ok(_) => Raw::deserialize(table).map_err(syntax)?,
        };
        raw.meant()
    }
}

/// The name in the environment of the key `key`.
pub fn variable_name(key: &str) -> String {
    format!("PORTCULLIS_{}", key.to_uppercase().replace('.', "_"))
}

/// Puts `value`, TOML or a bare word, at `key`.
fn set(table: &mut toml::Table, key: &'static str, value: &str) -> Result<(), ConfigError> {
    let parsed = format!("x = {value}").parse::<toml::Table>().ok().and_then(|mut line| line.remove("x"));
    let value = parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()));
    match key.split_once('.') {
        None => drop(table.insert(key.to_owned(), value)),
        Some((section, key_of_section)) => {
            let section = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            let section =
                section.as_table_mut().ok_or_else(|| wrong(key, &value, "its section is no table"))?;
            section.insert(key_of_section.to_owned(), value);
        }
    }
    Ok(())
}

/// `/var/lib/portcullis` for root, the XDG state folder (XDG Base Directory Specification) otherwise.
pub fn default_state_dir() -> Option<PathBuf> {
    if nix::unistd::geteuid().is_root() {
        return Some("/var/lib/portcullis".into());
    }
    let xdg = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state"));
    Some(xdg.or_else(home)?.join("portcullis"))
}

#[cfg(test)]
mod tests;
