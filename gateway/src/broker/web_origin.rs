//! Where a page comes from, as browsers say it (RFC 6454 section 6.2): scheme, host and port.

use std::net::Ipv6Addr;
use std::str::FromStr;

/// The origin of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebOrigin {
    scheme: Scheme,
    /// In lower case; an IPv6 address in brackets.
    host: String,
    port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// What is no origin of a page; `null` is none either.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an origin is http://HOST[:PORT] or https://HOST[:PORT], without a path")]
pub struct NoOrigin;

impl FromStr for WebOrigin {
    type Err = NoOrigin;

    fn from_str(text: &str) -> Result<Self, NoOrigin> {
        let (scheme, authority) = text.split_once("://").ok_or(NoOrigin)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(NoOrigin),
        };
        let (host, port) = host_and_port(authority, scheme).ok_or(NoOrigin)?;
        Ok(Self { scheme, host, port })
    }
}

impl WebOrigin {
    /// Whether a page of this origin came from `host`, the value of a header `Host`. That one has no scheme:
    /// what ends TLS may stand before us.
    pub fn is_at(&self, host: &str) -> bool {
        host_and_port(host, self.scheme).is_some_and(|(host, port)| host == self.host && port == self.port)
    }
}

fn host_and_port(authority: &str, scheme: Scheme) -> Option<(String, u16)> {
    let end = if authority.starts_with('[') { authority.find(']')? + 1 } else { host_length(authority) };
    let (host, rest) = authority.split_at(end);
    let port = if rest.is_empty() { scheme.port() } else { port_of(rest.strip_prefix(':')?)? };
    Some((host_of(host)?, port))
}

fn host_length(authority: &str) -> usize {
    authority.find(':').unwrap_or(authority.len())
}

/// Digits alone: the standard library takes `+80` too.
fn port_of(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

fn host_of(text: &str) -> Option<String> {
    if let Some(address) = text.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (!text.is_empty() && text.bytes().all(is_name)).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> WebOrigin {
        text.parse().unwrap_or_else(|_| panic!("{text:?} is no origin"))
    }

    #[test]
    fn the_same_origin_has_many_spellings() {
        for (one, other) in [
            ("http://console.example", "HTTP://Console.Example:80"),
            ("https://console.example:443", "https://console.example"),
            ("https://[2001:DB8::1]", "https://[2001:db8:0::1]:443"),
        ] {
            assert_eq!(origin(one), origin(other));
        }
        for other in ["https://x", "http://x:81", "http://y", "http://x.y"] {
            assert_ne!(origin("http://x"), origin(other), "{other}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "",
            "null",
            "*",
            "x",
            "//x",
            "http://",
            "http://x/",
            "http://x:",
            "http://x:0",
            "http://x:+80",
            "http://x:65536",
            "http://x:80:80",
            "http://*.x",
            "http://u@x",
            "http://x?q",
            "http://x#f",
            "ftp://x",
            "ws://x",
            "http://x y",
            "http://[::1",
            "http://::1",
            "http://[x]",
            "http://[::1]x",
            "http://ä",
            " http://x",
            "http://x ",
        ] {
            assert_eq!(text.parse::<WebOrigin>(), Err(NoOrigin), "{text:?}");
        }
    }

    #[test]
    fn a_page_is_at_its_host() {
        for (page, host, at) in [
            ("http://x", "x", true),
            ("http://x", "X:80", true),
            ("https://x", "x", true),
            ("https://x", "x:443", true),
            ("http://x:13452", "x:13452", true),
            ("http://[::1]:13452", "[::1]:13452", true),
            ("http://x", "x:443", false),
            ("http://x", "x:81", false),
            ("http://x", "y", false),
            ("http://x", "", false),
            ("http://x", "x/", false),
        ] {
            assert_eq!(origin(page).is_at(host), at, "{page} {host}");
        }
    }
}
