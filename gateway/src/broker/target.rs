//! A target: where an instance's console listens, and what it speaks there.

use std::fmt;
use std::str::FromStr;

pub use local::{CommandLine, Local};
pub use tls::TargetTls;

pub mod local;
pub mod tls;

/// What a console speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RFB (RFC 6143).
    Vnc,
    /// SPICE.
    Spice,
    /// RDP.
    Rdp,
    /// A serial line.
    Serial,
    /// A container's terminal.
    Container,
    /// A management controller's VNC.
    Ikvm,
}

impl Protocol {
    /// All of them, with their names in API, store and metrics.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Vnc, "vnc"),
        (Self::Spice, "spice"),
        (Self::Rdp, "rdp"),
        (Self::Serial, "serial"),
        (Self::Container, "container"),
        (Self::Ikvm, "ikvm"),
    ];

    /// Whether it is RFB.
    pub const fn speaks_rfb(self) -> bool {
        matches!(self, Self::Vnc | Self::Ikvm)
    }

    /// Whether it is text, typed and shown.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Serial | Self::Container)
    }

    /// The name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(protocol, _)| *protocol == self).map_or("", |(_, name)| name)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(protocol, _)| *protocol).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|(_, name)| *name).collect();
            format!("unknown protocol {name:?}, known are {}", names.join(", "))
        })
    }
}

/// A secret of a machine. It shows itself only where it is asked for by name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// A secret; an empty text is none.
    pub fn new(text: String) -> Option<Self> {
        (!text.is_empty()).then_some(Self(text))
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where a console listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Name or address of the hypervisor.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// What it speaks.
    pub protocol: Protocol,
    /// Its password.
    pub secret: Option<Secret>,
    /// TLS on the way to it. In a box: few have it, and thousands of brokers have room for it.
    pub tls: Option<Box<TargetTls>>,
    /// Where it is on this machine, and then at no host and port.
    pub local: Option<Box<Local>>,
}

impl Target {
    /// The console on `port` of `host`, without a password and without TLS.
    pub fn new(host: impl Into<String>, port: u16, protocol: Protocol) -> Self {
        Self { host: host.into(), port, protocol, secret: None, tls: None, local: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_in_any_log() {
        let secret = Secret::new("secret12".into());
        let target = Target { secret, ..Target::new("host", 5900, Protocol::Vnc) };
        assert!(!format!("{target:?}").contains("secret12"));
        assert_eq!(Secret::new(String::new()), None);
    }

    #[test]
    fn protocols_read_back() {
        for (protocol, name) in Protocol::ALL {
            assert_eq!(name.parse(), Ok(protocol));
            assert_eq!(protocol.to_string(), name);
            assert_eq!(serde_json::to_string(&protocol).expect("a name"), format!("{name:?}"));
        }
        assert!("VNC".parse::<Protocol>().is_err());
    }
}
