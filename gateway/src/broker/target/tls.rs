//! TLS toward a target: who is believed there, and when it begins. Values only; `relay::target::tls` does it.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::Protocol;

/// TLS toward a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetTls {
    /// Who is believed.
    pub trust: Trust,
    /// When it begins.
    pub start: Start,
    /// The name that is asked for and looked for in the certificate; `None` for the target's host.
    pub server_name: Option<String>,
}

/// Which certificate of a target is believed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Trust {
    /// One for the target's name, by an authority of `targets.ca`.
    Ca,
    /// This one, whoever made it, however old it is and whatever it names.
    Pin(Fingerprint),
    /// The one that the instance showed first, whoever made it: the first connection decides.
    FirstUse,
    /// Any: it keeps those out who only read along.
    Insecure,
}

impl Trust {
    /// The names of all kinds, in API, store and metrics.
    pub const NAMES: [&'static str; 4] = ["ca", "pin", "insecure", "first-use"];

    /// The name of its kind.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ca => Self::NAMES[0],
            Self::Pin(_) => Self::NAMES[1],
            Self::Insecure => Self::NAMES[2],
            Self::FirstUse => Self::NAMES[3],
        }
    }
}

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = TlsStart)]
pub enum Start {
    /// With the first byte of the connection.
    Connect,
    /// Where the protocol itself asks for it: VeNCrypt in VNC, the negotiation of RDP.
    Protocol,
}

impl Start {
    /// What is usual: only VNC and RDP know how to begin it themselves.
    pub const fn usual(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Vnc | Protocol::Rdp => Self::Protocol,
            Protocol::Spice | Protocol::Serial | Protocol::Container | Protocol::Ikvm => Self::Connect,
        }
    }

    /// Its name in API and store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Protocol => "protocol",
        }
    }
}

/// SHA-256 of a certificate in DER, as `openssl x509 -noout -fingerprint -sha256` prints it. Of the whole
/// certificate and not of its key alone: what a console shows of itself, and every tool prints, is that.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

/// What is no fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a fingerprint is the SHA-256 of a certificate, 64 hexadecimal digits, with colons between or without"
)]
pub struct NoFingerprint;

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    /// Digits of either case; openssl's words in front are taken, too.
    fn from_str(text: &str) -> Result<Self, NoFingerprint> {
        let digits = text.trim().rsplit_once('=').map_or(text.trim(), |(_, digits)| digits);
        let digits: Vec<u8> = digits.bytes().filter(|byte| *byte != b':').collect();
        let mut print = [0; 32];
        if digits.len() != 2 * print.len() || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(NoFingerprint);
        }
        for (byte, pair) in print.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| NoFingerprint)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NoFingerprint)?;
        }
        Ok(Self(print))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02X}", if index > 0 { ":" } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// TLS toward a target, as the API is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = TargetTls)]
pub enum Rule {
    /// None; of RDP, which has no other protection, the same as `first-use`.
    Off,
    /// The certificate has to be by an authority of `targets.ca`, and for the target's name.
    Ca,
    /// It has to be the one with the fingerprint `tls_pin`.
    Pin,
    /// It may be any; needs `targets.insecure_tls = true`.
    Insecure,
    /// It has to be the one that the instance showed first. For RDP, where it is usual.
    FirstUse,
}

impl Rule {
    /// As the store writes it.
    pub fn column(self) -> Option<String> {
        let name = match self {
            Self::Off => return None,
            Self::Ca => Trust::NAMES[0],
            Self::Pin => Trust::NAMES[1],
            Self::Insecure => Trust::NAMES[2],
            Self::FirstUse => Trust::NAMES[3],
        };
        Some(name.to_owned())
    }
}

/// TLS of a target as API and store write it: a word for each thing, and none for what is usual.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// A name of [`Trust`]; `None` is off, and with RDP `first-use`.
    pub tls: Option<String>,
    /// The fingerprint of `pin`.
    pub pin: Option<String>,
    /// See [`TargetTls::server_name`].
    pub server_name: Option<String>,
    /// `connect` or `protocol`.
    pub start: Option<String>,
}

impl Columns {
    /// What they mean for a target that speaks `protocol`; `None` is no TLS.
    ///
    /// # Errors
    /// What cannot be meant.
    pub fn meant(&self, protocol: Protocol) -> Result<Option<TargetTls>, String> {
        // RDP is never without TLS here, and its servers make their certificates themselves.
        let tls = self.tls.as_deref().or((protocol == Protocol::Rdp).then_some(Trust::FirstUse.name()));
        let trust = match (tls, self.pin.as_deref()) {
            (None, None) if self.server_name.is_none() && self.start.is_none() => return Ok(None),
            (None, _) => return Err("tls_pin, tls_server_name and tls_start need tls".to_owned()),
            (Some("pin"), Some(pin)) => Trust::Pin(pin.parse().map_err(|no| format!("tls_pin: {no}"))?),
            (Some("pin"), None) => return Err("tls pin needs tls_pin".to_owned()),
            (Some(other), Some(_)) => return Err(format!("tls_pin is for tls pin, not for {other}")),
            (Some("ca"), None) => Trust::Ca,
            (Some("insecure"), None) => Trust::Insecure,
            (Some("first-use"), None) if protocol == Protocol::Rdp => Trust::FirstUse,
            (Some("first-use"), None) => return Err(format!("tls first-use is for rdp, not for {protocol}")),
            (Some(other), None) => {
                return Err(format!("tls {other:?} is none of off, ca, pin, insecure and first-use"));
            }
        };
        let start = match self.start.as_deref() {
            None => Start::usual(protocol),
            // Its servers know no other way, and a certificate is recognised there only.
            Some("connect") if protocol == Protocol::Rdp => {
                return Err("rdp begins TLS itself: tls_start protocol".to_owned());
            }
            Some("connect") => Start::Connect,
            Some("protocol") if can_ask(protocol) => Start::Protocol,
            Some("protocol") => return Err(format!("{protocol} cannot begin TLS itself: tls_start connect")),
            Some(other) => return Err(format!("tls_start {other:?} is neither connect nor protocol")),
        };
        Ok(Some(TargetTls { trust, start, server_name: self.server_name.clone() }))
    }
}

/// Whether a protocol knows how to begin TLS.
const fn can_ask(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Vnc | Protocol::Ikvm | Protocol::Rdp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_read_back() {
        let print = Fingerprint::of(b"certificate");
        let text = print.to_string();
        assert_eq!(text.len(), 95);
        for text in [
            text.clone(),
            text.to_ascii_lowercase(),
            text.replace(':', ""),
            format!("sha256 Fingerprint={text}\n"),
        ] {
            assert_eq!(text.parse(), Ok(print), "{text}");
        }
        for text in ["", "AB:CD", &text[1..], &"G".repeat(64), &"é".repeat(32)] {
            assert_eq!(text.parse::<Fingerprint>(), Err(NoFingerprint), "{text}");
        }
    }

    #[test]
    fn columns_are_meant_or_refused() {
        let pin = Fingerprint::of(b"x").to_string();
        let columns = |tls: &str, pin: &str, start: &str| {
            let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            Columns { tls: some(tls), pin: some(pin), server_name: None, start: some(start) }
        };
        for (tls, given, start, protocol, expected) in [
            ("ca", "", "", Protocol::Spice, Ok((0, Start::Connect))),
            ("ca", "", "", Protocol::Vnc, Ok((0, Start::Protocol))),
            ("ca", "", "connect", Protocol::Vnc, Ok((0, Start::Connect))),
            ("pin", &pin, "", Protocol::Rdp, Ok((1, Start::Protocol))),
            ("insecure", "", "protocol", Protocol::Ikvm, Ok((2, Start::Protocol))),
            ("insecure", "", "protocol", Protocol::Spice, Err("spice cannot begin TLS itself")),
            ("pin", "", "", Protocol::Vnc, Err("tls pin needs tls_pin")),
            ("pin", "00", "", Protocol::Vnc, Err("tls_pin: a fingerprint is")),
            ("ca", &pin, "", Protocol::Vnc, Err("tls_pin is for tls pin, not for ca")),
            ("", &pin, "", Protocol::Vnc, Err("tls_pin, tls_server_name and tls_start need tls")),
            ("", "", "connect", Protocol::Vnc, Err("tls_pin, tls_server_name and tls_start need tls")),
            ("yes", "", "", Protocol::Vnc, Err("tls \"yes\" is none of")),
            ("ca", "", "later", Protocol::Vnc, Err("tls_start \"later\" is neither")),
            ("", "", "", Protocol::Rdp, Ok((3, Start::Protocol))),
            ("first-use", "", "", Protocol::Rdp, Ok((3, Start::Protocol))),
            ("", "", "connect", Protocol::Rdp, Err("rdp begins TLS itself")),
            ("first-use", "", "connect", Protocol::Rdp, Err("rdp begins TLS itself")),
            ("pin", &pin, "connect", Protocol::Rdp, Err("rdp begins TLS itself")),
            ("first-use", "", "", Protocol::Vnc, Err("tls first-use is for rdp, not for vnc")),
            ("", &pin, "", Protocol::Rdp, Err("tls_pin is for tls pin, not for first-use")),
        ] {
            match (columns(tls, given, start).meant(protocol), expected) {
                (Ok(Some(meant)), Ok((name, start))) => {
                    assert_eq!((meant.trust.name(), meant.start), (Trust::NAMES[name], start));
                }
                (Err(said), Err(expected)) => assert!(said.starts_with(expected), "{said}"),
                (meant, _) => panic!("{tls} {given} {start}: {meant:?}"),
            }
        }
        assert_eq!(Columns::default().meant(Protocol::Vnc), Ok(None));
    }
}
