//! Where clients come from: a port, a Unix socket, or the socket that whoever started us listens on.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A port of the addresses that `host` has; of all, if it is empty.
    Port {
        /// By name or address.
        host: String,
        /// The port.
        port: u16,
        /// Of several addresses, one of IPv6.
        prefer_ipv6: bool,
    },
    /// A Unix socket.
    Unix {
        /// Where it is made.
        path: PathBuf,
        /// Who may connect, as permissions of a file.
        mode: u32,
    },
    /// Standard input is the socket: inetd with `wait`, or systemd with `StandardInput=socket`.
    Inherited,
}

/// A socket that listens.
#[derive(Debug)]
pub enum Listener {
    /// For TCP.
    Tcp(TcpListener),
    /// For clients on this machine.
    Unix(UnixListener),
}

impl Source {
    /// Listens there.
    ///
    /// # Errors
    /// What the system said, and about what.
    pub fn listen(&self) -> anyhow::Result<Listener> {
        match self {
            Self::Port { host, port, prefer_ipv6 } => {
                let address = resolve(host, *port, *prefer_ipv6)?;
                Ok(Listener::Tcp(bind(address).with_context(|| format!("listen on {address}"))?))
            }
            Self::Unix { path, mode } => {
                let listener = bind_unix(path, *mode);
                Ok(Listener::Unix(listener.with_context(|| format!("listen on {}", path.display()))?))
            }
            Self::Inherited => inherited(),
        }
    }
}

impl Listener {
    /// The same socket once more, for another thread.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => Self::Tcp(listener.try_clone()?),
            Self::Unix(listener) => Self::Unix(listener.try_clone()?),
        })
    }

    /// For the log.
    pub fn name(&self) -> String {
        match self {
            Self::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| "a port".to_owned(), |address| address.to_string())
            }
            Self::Unix(listener) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                path.map_or_else(|| "a Unix socket".to_owned(), |path| path.display().to_string())
            }
        }
    }
}

/// As `getaddrinfo` has it for who listens: one address, of IPv4 where there is a choice.
fn resolve(host: &str, port: u16, prefer_ipv6: bool) -> anyhow::Result<SocketAddr> {
    if host.is_empty() {
        let any = if prefer_ipv6 { "::" } else { "0.0.0.0" };
        return Ok(SocketAddr::new(any.parse().context("an address")?, port));
    }
    let addresses = (host, port).to_socket_addrs().with_context(|| format!("look {host} up"))?;
    let mut addresses: Vec<_> = addresses.collect();
    addresses.sort_by_key(|address| address.is_ipv6() != prefer_ipv6);
    addresses.first().copied().with_context(|| format!("{host} has no address"))
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `::` is for clients of both families.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    // A socket that somebody left behind; anything else is not ours to remove.
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    // Before it listens: nobody comes in meanwhile.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn inherited() -> anyhow::Result<Listener> {
    let stdin = io::stdin().as_fd().try_clone_to_owned().context("standard input")?;
    let socket = SockRef::from(&stdin);
    match socket.is_listener() {
        Ok(true) => {}
        Ok(false) => bail!(
            "standard input is a connection, not a socket that listens: inetd has to be told `wait`, systemd \
             `Accept=no`"
        ),
        Err(_) => bail!("--inetd: standard input is no socket"),
    }
    let is_unix = socket.domain().is_ok_and(|domain| domain == Domain::UNIX);
    listener(stdin, is_unix).context("standard input")
}

fn listener(socket: OwnedFd, is_unix: bool) -> io::Result<Listener> {
    Ok(if is_unix { Listener::Unix(socket.into()) } else { Listener::Tcp(socket.into()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_address() {
        let port = |host: &str, prefer_ipv6| {
            resolve(host, 1, prefer_ipv6).map(|address| address.to_string()).map_err(drop)
        };
        assert_eq!(port("", false).as_deref(), Ok("0.0.0.0:1"));
        assert_eq!(port("", true).as_deref(), Ok("[::]:1"));
        assert_eq!(port("127.0.0.1", true).as_deref(), Ok("127.0.0.1:1"));
        assert_eq!(port("::1", false).as_deref(), Ok("[::1]:1"));
        assert_eq!(port("host.invalid", false), Err(()));
    }

    #[test]
    fn a_socket_has_its_mode_and_replaces_a_dead_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        for mode in [0o600, 0o660] {
            let listener = bind_unix(&path, mode).expect("a socket");
            let found = fs::metadata(&path).expect("a file").permissions().mode();
            assert_eq!(found & 0o777, mode);
            drop(listener);
        }
        let file = folder.path().join("file");
        fs::write(&file, "precious").expect("writes");
        assert!(bind_unix(&file, 0o600).is_err());
        assert_eq!(fs::read_to_string(&file).expect("a file"), "precious");
    }
}
