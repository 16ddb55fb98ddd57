//! What was written, key by key, and what it means.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, ToSocketAddrs};
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use portcullis_ebpf::layout::{Limit, Limits as FilterLimits};
use serde::Deserialize;

use crate::broker::channels::Channels;
use crate::broker::session::Limits;
use crate::broker::web_origin::{NoOrigin, WebOrigin};
use crate::kernel::hook::Hook;
use crate::kernel::pins::FOLDER;
use crate::tls::{Clients, Identity};

use super::commands::{self, RawCommand};
use super::listen::{API, METRICS, RawListen};
use super::{Backend, BrokerTls, Config, ConfigError, default_state_dir, wrong};

/// The file, key by key.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    broker_host: Option<String>,
    addresses: Vec<IpAddr>,
    address_interface: Option<String>,
    interfaces: Vec<String>,
    state_dir: Option<PathBuf>,
    stop_grace_s: Option<u64>,
    cores: usize,
    allowed_origins: Vec<String>,
    reveal_passwords: bool,
    trusted_proxies: Vec<IpNet>,
    range: RawRange,
    broker: RawBroker,
    session: RawSession,
    sessions: RawSessions,
    targets: RawTargets,
    terminals: RawTerminals,
    filter: RawFilter,
    tls: RawTls,
    api: RawListen,
    metrics: RawListen,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawRange {
    first: Option<u16>,
    last: Option<u16>,
    exclude: Vec<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawBroker {
    ttl_s: Option<u64>,
    rest_s: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawSession {
    first_byte_s: Option<u64>,
    header_s: Option<u64>,
    tls_s: Option<u64>,
    dial_s: Option<u64>,
    peer_timeout_s: Option<u64>,
    idle_s: Option<u64>,
    max_s: Option<u64>,
    bytes_per_s: u64,
    reconnect_s: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawSessions {
    max: usize,
    per_instance: usize,
    per_client: usize,
    keep: Option<u32>,
    keep_days: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawTargets {
    allow: Vec<IpNet>,
    secrets: Option<String>,
    spice_channels_off: Vec<String>,
    unix_root: Option<PathBuf>,
    ca: Option<PathBuf>,
    insecure_tls: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawTerminals {
    history: Option<usize>,
    commands: HashMap<String, RawCommand>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawFilter {
    backend: Option<String>,
    hook: Option<String>,
    pins: Option<PathBuf>,
    source_per_s: Option<u32>,
    source_burst: Option<u32>,
    broker_per_s: u32,
    broker_burst: Option<u32>,
    open_host_firewall: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawTls {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    more: Vec<Identity>,
    broker_ports: Option<String>,
    client_ca: Option<PathBuf>,
    client_certificates: Option<String>,
}

impl Raw {
    pub(super) fn meant(self) -> Result<Config, ConfigError> {
        let addresses = self.addresses()?;
        let broker_host = self.broker_host.unwrap_or_else(|| addresses[0].to_string());
        let certificates = self.tls.certificates()?;
        let certified = !certificates.is_empty();
        let client_ca = self.tls.client_ca.as_ref();
        let range = range(self.range.first.unwrap_or(10_000), self.range.last.unwrap_or(15_000))?;
        Ok(Config {
            broker_host,
            addresses,
            address_interface: self.address_interface.map(interface_name).transpose()?,
            interfaces: interfaces(self.interfaces)?,
            state_dir: match self.state_dir {
                Some(path) => path,
                None => default_state_dir().ok_or_else(|| wrong("state_dir", "", "name a folder"))?,
            },
            stop_grace: seconds("stop_grace_s", self.stop_grace_s, 10)?,
            cores: match self.cores {
                0 => std::thread::available_parallelism().map_or(1, usize::from),
                cores @ 1..=256 => cores,
                cores => return Err(wrong("cores", cores, "at most 256; 0 for one per core of the machine")),
            },
            allowed_origins: origins(&self.allowed_origins)?,
            reveal_passwords: self.reveal_passwords,
            trusted_proxies: self.trusted_proxies,
            exclude: self.range.exclude.into_iter().collect(),
            range,
            ttl: positive("broker.ttl_s", self.broker.ttl_s, 60)?,
            reconnect: seconds("session.reconnect_s", self.session.reconnect_s, 30)?,
            limits: Limits {
                total: self.sessions.max,
                per_instance: self.sessions.per_instance,
                per_client: self.sessions.per_client,
            },
            keep_sessions: (
                self.sessions.keep.unwrap_or(1_000_000),
                Duration::from_secs(u64::from(self.sessions.keep_days.unwrap_or(30)) * 24 * 60 * 60),
            ),
            rest: seconds("broker.rest_s", self.broker.rest_s, 120)?,
            first_byte: positive("session.first_byte_s", self.session.first_byte_s, 10)?,
            header: positive("session.header_s", self.session.header_s, 10)?,
            tls_handshake: positive("session.tls_s", self.session.tls_s, 10)?,
            dial: positive("session.dial_s", self.session.dial_s, 10)?,
            peer_timeout: seconds("session.peer_timeout_s", self.session.peer_timeout_s, 30)?,
            idle: seconds("session.idle_s", self.session.idle_s, 0)?,
            max: seconds("session.max_s", self.session.max_s, 0)?,
            bytes_per_s: rate(self.session.bytes_per_s)?,
            allow: self.targets.allow,
            spice_channels: channels(&self.targets.spice_channels_off)?,
            inject_secrets: match self.targets.secrets.as_deref() {
                None | Some("inject") => true,
                Some("pass") => false,
                Some(other) => return Err(wrong("targets.secrets", other, "inject or pass")),
            },
            unix_root: unix_root(self.targets.unix_root)?,
            history: history(self.terminals.history)?,
            commands: commands::meant(self.terminals.commands, nix::unistd::geteuid().is_root())?,
            target_ca: self.targets.ca,
            insecure_target_tls: self.targets.insecure_tls,
            backend: match self.filter.backend.as_deref() {
                None | Some("auto") => Backend::Auto,
                Some("ebpf") => Backend::Ebpf,
                Some("nft") => Backend::Nft,
                Some("none") => Backend::None,
                Some(other) => return Err(wrong("filter.backend", other, "auto, ebpf, nft or none")),
            },
            hook: match self.filter.hook.as_deref() {
                None | Some("auto") => None,
                Some("xdp") => Some(Hook::Xdp),
                Some("xdp-generic") => Some(Hook::XdpGeneric),
                Some("tc") => Some(Hook::Tc),
                Some(other) => return Err(wrong("filter.hook", other, "auto, xdp, xdp-generic or tc")),
            },
            open_host_firewall: self.filter.open_host_firewall,
            filter_limits: self.filter.limits()?,
            pins: pins(self.filter.pins)?,
            broker_tls: self.tls.broker_ports(certified)?,
            broker_clients: self.tls.broker_clients(certified)?,
            api: self.api.meant(&API, certified, client_ca)?,
            metrics: self.metrics.meant(&METRICS, certified, client_ca)?,
            certificates,
        })
    }

    /// The broker addresses: as written, or what `broker_host` resolves to.
    fn addresses(&self) -> Result<Vec<IpAddr>, ConfigError> {
        let mut addresses: Vec<IpAddr> = self.addresses.iter().map(IpAddr::to_canonical).collect();
        if let (true, Some(host)) = (addresses.is_empty(), &self.broker_host) {
            let resolved = (host.as_str(), 0).to_socket_addrs();
            let resolved = resolved.map_err(|error| wrong("broker_host", host, error.to_string()))?;
            addresses = resolved.map(|address| address.ip()).collect();
        }
        let mut seen = HashSet::new();
        addresses.retain(|address| seen.insert(*address));
        if let Some(address) = addresses.iter().find(|ip| ip.is_unspecified() || ip.is_multicast()) {
            return Err(wrong(
                "addresses",
                address,
                "broker addresses are addresses of this machine, one by one",
            ));
        }
        if addresses.is_empty() {
            return Err(wrong("addresses", &addresses, "name at least one broker address, or broker_host"));
        }
        Ok(addresses)
    }
}

/// Names of interfaces have at most 15 bytes (netdevice(7)).
fn interface_name(name: String) -> Result<String, ConfigError> {
    match name.len() {
        1..=15 => Ok(name),
        _ => Err(wrong("address_interface", name, "the name of an interface, as `ip link` shows it")),
    }
}

fn range(first: u16, last: u16) -> Result<RangeInclusive<u16>, ConfigError> {
    if first == 0 || first > last {
        return Err(wrong("range", format!("{first}-{last}"), "first must be at least 1 and at most last"));
    }
    Ok(first..=last)
}

/// Less is no console any more, and a mistake in the unit.
const BYTES_PER_S_MIN: u64 = 4096;

fn rate(bytes_per_s: u64) -> Result<Option<NonZeroU64>, ConfigError> {
    match bytes_per_s {
        1..BYTES_PER_S_MIN => {
            let problem = format!("at least {BYTES_PER_S_MIN}, or 0 for no limit");
            Err(wrong("session.bytes_per_s", bytes_per_s, problem))
        }
        limit => Ok(NonZeroU64::new(limit)),
    }
}

fn origins(texts: &[String]) -> Result<Vec<WebOrigin>, ConfigError> {
    let origin = |text: &String| {
        text.parse().map_err(|error: NoOrigin| wrong("allowed_origins", text, error.to_string()))
    };
    texts.iter().map(origin).collect()
}

fn channels(off: &[String]) -> Result<Channels, ConfigError> {
    Channels::without(off).map_err(|name| {
        wrong("targets.spice_channels_off", name, format!("some of {}", Channels::optional()))
    })
}

/// A year: more is a mistake, and sums of times stay far from what clocks can hold.
const SECONDS_MAX: u64 = 366 * 24 * 60 * 60;

fn seconds(key: &'static str, value: Option<u64>, default: u64) -> Result<Duration, ConfigError> {
    match value.unwrap_or(default) {
        value @ 0..=SECONDS_MAX => Ok(Duration::from_secs(value)),
        value => Err(wrong(key, value, format!("at most {SECONDS_MAX}, a year"))),
    }
}

pub(super) fn positive(key: &'static str, value: Option<u64>, default: u64) -> Result<Duration, ConfigError> {
    match seconds(key, value, default)? {
        Duration::ZERO => Err(wrong(key, 0, "at least 1")),
        time => Ok(time),
    }
}

fn interfaces(patterns: Vec<String>) -> Result<Vec<String>, ConfigError> {
    let wrongly = patterns.iter().find(|pattern| glob::Pattern::new(pattern).is_err());
    match wrongly {
        Some(pattern) => Err(wrong("interfaces", pattern, "names, or patterns like eth*")),
        None => Ok(patterns),
    }
}

fn pins(folder: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
    match folder {
        None => Ok(FOLDER.into()),
        Some(folder) if folder.is_absolute() && folder.parent().is_some() => Ok(folder),
        Some(folder) => Err(wrong("filter.pins", folder, "a folder's whole path, on bpffs")),
    }
}

fn unix_root(folder: Option<PathBuf>) -> Result<Option<PathBuf>, ConfigError> {
    match folder {
        Some(folder) if !folder.is_absolute() => {
            Err(wrong("targets.unix_root", folder, "a folder's whole path"))
        }
        folder => Ok(folder),
    }
}

/// More is no screen any more, and each console that has a session takes as much.
const HISTORY_MAX: usize = 1024 * 1024;

fn history(bytes: Option<usize>) -> Result<usize, ConfigError> {
    match bytes.unwrap_or(64 * 1024) {
        bytes @ 0..=HISTORY_MAX => Ok(bytes),
        bytes => Err(wrong("terminals.history", bytes, format!("at most {HISTORY_MAX}; 0 keeps nothing"))),
    }
}

impl RawFilter {
    fn limits(&self) -> Result<FilterLimits, ConfigError> {
        let source_burst = burst("filter.source_burst", self.source_burst.unwrap_or(2_000))?;
        let broker_burst = burst("filter.broker_burst", self.broker_burst.unwrap_or(100))?;
        Ok(FilterLimits {
            source: Limit::new(self.source_per_s.unwrap_or(200), source_burst),
            broker: Limit::new(self.broker_per_s, broker_burst),
        })
    }
}

/// A burst of none would let nobody in.
fn burst(key: &'static str, burst: u32) -> Result<u32, ConfigError> {
    if burst == 0 { Err(wrong(key, "0", "at least 1")) } else { Ok(burst) }
}

/// Which certificates clients are asked for, as `key` says.
pub(super) fn clients(
    key: &'static str,
    value: Option<&str>,
    authorities: Option<&PathBuf>,
) -> Result<Clients, ConfigError> {
    match (value.unwrap_or("off"), authorities) {
        ("off", _) => Ok(Clients::Anybody),
        ("optional", Some(path)) => Ok(Clients::Optional(path.clone())),
        ("required", Some(path)) => Ok(Clients::Certified(path.clone())),
        (other @ ("optional" | "required"), None) => Err(wrong(key, other, "this needs tls.client_ca")),
        (other, _) => Err(wrong(key, other, "off, optional or required")),
    }
}

impl RawTls {
    fn certificates(&self) -> Result<Vec<Identity>, ConfigError> {
        match (&self.certificate, &self.key) {
            (None, None) if self.more.is_empty() => Ok(Vec::new()),
            (None, None) => Err(wrong("tls.more", "", "these are beside tls.certificate and tls.key")),
            (Some(certificate), Some(key)) => {
                let first = Identity { certificate: certificate.clone(), key: key.clone() };
                Ok(std::iter::once(first).chain(self.more.iter().cloned()).collect())
            }
            (Some(_), None) => Err(wrong("tls.key", "", "name the file with the key of tls.certificate")),
            (None, Some(_)) => {
                Err(wrong("tls.certificate", "", "name the file with the certificate of tls.key"))
            }
        }
    }

    fn broker_clients(&self, certified: bool) -> Result<Clients, ConfigError> {
        const KEY: &str = "tls.client_certificates";
        let clients = clients(KEY, self.client_certificates.as_deref(), self.client_ca.as_ref())?;
        match (&clients, self.broker_ports(certified)?) {
            (Clients::Certified(_), BrokerTls::Off | BrokerTls::Optional) => {
                Err(wrong(KEY, "required", "this needs tls.broker_ports = \"required\": others have none"))
            }
            (Clients::Optional(_), BrokerTls::Off) => {
                Err(wrong(KEY, "optional", "this needs tls.broker_ports = \"optional\" or \"required\""))
            }
            _ => Ok(clients),
        }
    }

    fn broker_ports(&self, certified: bool) -> Result<BrokerTls, ConfigError> {
        match self.broker_ports.as_deref() {
            None => Ok(if certified { BrokerTls::Optional } else { BrokerTls::Off }),
            Some("off") => Ok(BrokerTls::Off),
            Some("optional") if certified => Ok(BrokerTls::Optional),
            Some("required") if certified => Ok(BrokerTls::Required),
            Some(other @ ("optional" | "required")) => {
                Err(wrong("tls.broker_ports", other, "this needs tls.certificate and tls.key"))
            }
            Some(other) => Err(wrong("tls.broker_ports", other, "off, optional or required")),
        }
    }
}
