//! Targets over TCP: which destinations may be dialled, and dialling.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::broker::Target;

/// Which destinations may be dialled.
#[derive(Clone, Debug, Default)]
pub struct Destinations {
    /// Networks that targets may be in; empty for all.
    pub allow: Vec<IpNet>,
    /// Addresses and ports of our own that are never a target.
    pub own: Vec<SocketAddr>,
    /// Addresses that no broker port leads back to.
    pub own_range: Vec<(IpAddr, std::ops::RangeInclusive<u16>)>,
    /// All of them, whatever else is said: an operator named each target.
    pub anywhere: bool,
}

/// Why a target was not reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address, or the host refused.
    #[error("dial {target}: {source}")]
    Refused {
        /// Host and port.
        target: String,
        /// What the system said.
        source: io::Error,
    },
    /// All addresses are outside `targets.allow`, or of a kind that is never a target.
    #[error("dial {target}: {address} is not an allowed destination")]
    NotAllowed {
        /// Host and port.
        target: String,
        /// One of its addresses.
        address: IpAddr,
    },
    /// No answer in time.
    #[error("dial {target}: no answer within {limit:?}")]
    TimedOut {
        /// Host and port.
        target: String,
        /// The limit.
        limit: Duration,
    },
}

impl Destinations {
    /// Whether `address` may be dialled. Checked after names are resolved.
    pub fn allows(&self, address: SocketAddr) -> bool {
        if self.anywhere {
            return true;
        }
        let ip = address.ip().to_canonical();
        let never = match ip {
            IpAddr::V4(v4) => {
                v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast() || v4.is_link_local()
            }
            IpAddr::V6(v6) => v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local(),
        };
        // What listens on every address is at each of our own, of which loopback and brokers are known.
        let everywhere = ip.is_loopback() || self.own_range.iter().any(|(own, _)| *own == ip);
        let is_at =
            |own: &SocketAddr| own.ip().to_canonical() == ip || own.ip().is_unspecified() && everywhere;
        let own = self.own.iter().any(|own| own.port() == address.port() && is_at(own))
            || self.own_range.iter().any(|(own, range)| *own == ip && range.contains(&address.port()));
        let allowed = self.allow.is_empty() || self.allow.iter().any(|network| network.contains(&ip));
        allowed && !never && !own
    }

    /// Connects to `target`, trying its addresses in turn.
    ///
    /// # Errors
    /// See [`DialError`]; the last address decides which.
    pub async fn dial(&self, target: &Target, limit: Duration) -> Result<TcpStream, DialError> {
        let dialled = match target.host.parse() {
            Ok(ip) => timeout(limit, self.try_one(target, SocketAddr::new(ip, target.port), limit)).await,
            // In a box: only names have to be looked up.
            Err(_) => timeout(limit, Box::pin(self.try_all(target, limit))).await,
        };
        dialled.unwrap_or_else(|_| Err(DialError::TimedOut { target: name(target), limit }))
    }

    async fn try_all(&self, target: &Target, limit: Duration) -> Result<TcpStream, DialError> {
        let found = lookup_host((target.host.as_str(), target.port)).await;
        let addresses: Vec<_> = found.map_err(|source| refused(target, source))?.collect();
        // One address that does not answer must not take the time of the others.
        let share = limit / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        let mut last = None;
        for address in addresses {
            match timeout(share, self.try_one(target, address, share)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = Some(error),
                Err(_) => last = Some(DialError::TimedOut { target: name(target), limit: share }),
            }
        }
        let nowhere = || refused(target, io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        Err(last.unwrap_or_else(nowhere))
    }

    async fn try_one(
        &self,
        target: &Target,
        address: SocketAddr,
        limit: Duration,
    ) -> Result<TcpStream, DialError> {
        if !self.allows(address) {
            return Err(DialError::NotAllowed { target: name(target), address: address.ip() });
        }
        TcpStream::connect(address).await.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => DialError::TimedOut { target: name(target), limit },
            _ => refused(target, error),
        })
    }
}

/// For messages.
fn name(target: &Target) -> String {
    format!("{}:{}", target.host, target.port)
}

fn refused(target: &Target, source: io::Error) -> DialError {
    DialError::Refused { target: name(target), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destinations() -> Destinations {
        Destinations {
            allow: ["127.0.0.0/8", "10.0.0.0/8", "fd00::/8", "169.254.0.0/16"]
                .map(|net| net.parse().expect("net"))
                .into(),
            own: ["127.0.0.1:8700", "0.0.0.0:9700"].map(|own| own.parse().expect("address")).into(),
            own_range: vec![("127.0.80.1".parse().expect("address"), 10_000..=15_000)],
            anywhere: false,
        }
    }

    #[test]
    fn destinations_are_bounded() {
        for (address, allowed) in [
            ("10.1.2.3:5900", true),
            ("127.0.0.1:5900", true),
            ("[::ffff:10.1.2.3]:5900", true),
            ("[fd00::1]:5900", true),
            ("192.0.2.1:5900", false),
            ("169.254.169.254:80", false),
            ("[fe80::1]:5900", false),
            ("0.0.0.0:5900", false),
            ("224.0.0.1:5900", false),
            ("127.0.0.1:8700", false),
            ("127.0.0.1:9700", false),
            ("127.0.80.1:9700", false),
            ("10.1.2.3:9700", true),
            ("127.0.80.1:10000", false),
            ("[::ffff:127.0.80.1]:10000", false),
            ("127.0.80.1:9999", true),
        ] {
            let parsed: SocketAddr = address.parse().expect("an address");
            assert_eq!(destinations().allows(parsed), allowed, "{address}");
            assert!(Destinations { anywhere: true, ..destinations() }.allows(parsed), "{address}");
        }
    }

    #[tokio::test]
    async fn a_dead_target_refuses() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let target = Target::new("127.0.0.1", port, crate::broker::Protocol::Vnc);
        let error = Destinations::default().dial(&target, Duration::from_secs(10)).await.expect_err("nobody");
        assert!(matches!(error, DialError::Refused { .. }), "{error}");
    }
}
