//! Where a client is led: what a token stands for, or the one target of the command line.

use std::fmt;
use std::path::PathBuf;

/// A target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A host, by name or address, and a port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

/// What stands instead of a host before the path of a Unix socket.
const UNIX: &str = "unix_socket";

impl Destination {
    /// From host and port, or `unix_socket` and path, as token files and services give them. `None` where this is
    /// neither.
    pub fn new(host: &str, rest: &str) -> Option<Self> {
        let (host, rest) = (host.trim(), rest.trim());
        if host == UNIX {
            return (!rest.is_empty()).then(|| Self::Unix(rest.into()));
        }
        let host = host.trim_matches(['[', ']']);
        let port = rest.parse().ok().filter(|port| *port != 0)?;
        (!host.is_empty()).then(|| Self::Tcp(host.to_owned(), port))
    }

    /// From `host:port`; the last colon divides them, so that an address of IPv6 may stand there as it is.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.trim().strip_prefix("unix_socket:") {
            return Self::new(UNIX, path);
        }
        text.rsplit_once(':').and_then(|(host, port)| Self::new(host, port))
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, meant: Option<&str>) {
        let parsed = Destination::parse(text).map(|destination| destination.to_string());
        assert_eq!(parsed.as_deref(), meant, "{text}");
    }

    #[test]
    fn destinations_are_read() {
        check("10.0.0.7:5901", Some("10.0.0.7:5901"));
        check(" host.example:5901\n", Some("host.example:5901"));
        check("::1:5901", Some("[::1]:5901"));
        check("[::1]:5901", Some("[::1]:5901"));
        check("unix_socket:/run/vm:7/vnc", Some("/run/vm:7/vnc"));
        for text in ["", "host", "host:", ":5901", "host:0", "host:65536", "host:vnc", "unix_socket:"] {
            check(text, None);
        }
    }
}
