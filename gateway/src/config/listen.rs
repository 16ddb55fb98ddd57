//! Where API and metrics listen, and how much of their clients they bear.

use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::tls::Clients;

use super::raw::{clients, positive};
use super::{ConfigError, wrong};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawListen {
    listen: Option<String>,
    tls: Option<bool>,
    client_certificates: Option<String>,
    allow_plain: bool,
    socket_mode: Option<String>,
    request_s: Option<u64>,
    connections: Option<usize>,
}

/// A listener of the control side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where it listens.
    pub at: At,
    /// Whether it speaks TLS; there is a certificate then.
    pub tls: bool,
    /// Which certificates it asks its clients for.
    pub clients: Clients,
    /// From a connection, or the answer before, to the end of a request's head; and from there to the end
    /// of its body.
    pub request: Duration,
    /// Connections at a time.
    pub connections: usize,
}

/// Where something listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// Address and port.
    Tcp(SocketAddr),
    /// A Unix socket (unix(7)).
    Unix {
        /// Its file.
        path: PathBuf,
        /// Permissions of the file.
        mode: u32,
    },
}

impl At {
    /// Address and port, if it has these.
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix { .. } => None,
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { path, .. } => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// What the name of a Unix socket begins with, here and in URLs.
pub const UNIX: &str = "unix:";

/// Longest path of a Unix socket, in bytes: `sun_path` without its zero byte (unix(7)).
const PATH_MAX: usize = 107;

/// The names of what listens, and its port by default.
pub(super) struct Listener {
    listen: &'static str,
    tls: &'static str,
    client_certificates: &'static str,
    socket_mode: &'static str,
    request_s: &'static str,
    connections: &'static str,
    port: u16,
    /// What is said where it would go over the network in the clear.
    clear: &'static str,
}

pub(super) const API: Listener = Listener {
    listen: "api.listen",
    tls: "api.tls",
    client_certificates: "api.client_certificates",
    socket_mode: "api.socket_mode",
    request_s: "api.request_s",
    connections: "api.connections",
    port: 8700,
    clear: "beyond loopback the API needs TLS: name tls.certificate and tls.key, or set api.allow_plain = true",
};
pub(super) const METRICS: Listener = Listener {
    listen: "metrics.listen",
    tls: "metrics.tls",
    client_certificates: "metrics.client_certificates",
    socket_mode: "metrics.socket_mode",
    request_s: "metrics.request_s",
    connections: "metrics.connections",
    port: 9700,
    clear: "beyond loopback metrics need TLS: name tls.certificate and tls.key, or set metrics.allow_plain = true",
};

impl RawListen {
    /// `certified` says whether there is a certificate, `client_ca` whose of clients are good.
    pub(super) fn meant(
        &self,
        names: &Listener,
        certified: bool,
        client_ca: Option<&PathBuf>,
    ) -> Result<Listen, ConfigError> {
        let mode = self.socket_mode.as_deref().unwrap_or("0600");
        let mode = mode_of(mode).ok_or_else(|| {
            wrong(names.socket_mode, mode, "octal permissions of a file, with 0600 among them: \"0660\"")
        })?;
        let at = match self.listen.as_deref() {
            None => At::Tcp(SocketAddr::from(([127, 0, 0, 1], names.port))),
            Some(text) => place(text, mode).ok_or_else(|| {
                wrong(names.listen, text, "ADDRESS:PORT, or unix:/path of at most 107 bytes")
            })?,
        };
        let local = at.tcp().is_none_or(|address| address.ip().to_canonical().is_loopback());
        let tls = self.tls.unwrap_or(certified && !local);
        if tls && at.tcp().is_none() {
            return Err(wrong(names.tls, tls, "a Unix socket speaks no TLS"));
        }
        if tls && !certified {
            return Err(wrong(names.tls, tls, "this needs tls.certificate and tls.key"));
        }
        if !tls && !local && !self.allow_plain {
            return Err(wrong(names.listen, format_args!("{at}"), names.clear));
        }
        let clients = clients(names.client_certificates, self.client_certificates.as_deref(), client_ca)?;
        if clients != Clients::Anybody && !tls {
            let problem = format!("this needs {} = true", names.tls);
            return Err(wrong(
                names.client_certificates,
                self.client_certificates.as_deref().unwrap_or_default(),
                problem,
            ));
        }
        let connections = match self.connections.unwrap_or(512) {
            0 => return Err(wrong(names.connections, 0, "at least 1")),
            connections => connections,
        };
        let request = positive(names.request_s, self.request_s, 30)?;
        Ok(Listen { at, tls, clients, request, connections })
    }
}

fn place(text: &str, mode: u32) -> Option<At> {
    let Some(path) = text.strip_prefix(UNIX) else { return text.parse().ok().map(At::Tcp) };
    is_socket_path(Path::new(path)).then(|| At::Unix { path: path.into(), mode })
}

/// Whether a Unix socket may have this path. White space would break the line `ready`.
fn is_socket_path(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    path.is_absolute()
        && path.file_name().is_some()
        && bytes.len() <= PATH_MAX
        && !bytes.iter().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control())
}

/// Permissions in octal, of which the daemon's own user has to have some.
fn mode_of(text: &str) -> Option<u32> {
    let mode = u32::from_str_radix(text, 8).ok()?;
    (mode <= 0o777 && mode & 0o600 == 0o600).then_some(mode)
}
