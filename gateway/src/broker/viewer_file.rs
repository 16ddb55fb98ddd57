//! Files for native viewers: how one finds a broker, and what it shows there. For remote-viewer (`.vv`,
//! remote-viewer(1)) here, for FreeRDP and mstsc in `rdp`.

mod rdp;

use std::fmt::Write as _;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::pseudo_name::{Names, Way};
use super::ticket::Token;
use super::{Broker, Protocol, Refusal};
use crate::tls::Kept;

/// Which viewers a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// remote-viewer: `.vv`.
    Vv,
    /// FreeRDP and mstsc: `.rdp`.
    Rdp,
}

impl Form {
    /// Its type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Vv => "application/x-virt-viewer",
            Self::Rdp => "application/x-rdp",
        }
    }
}

/// Why there is none for a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoFile {
    /// There is no such viewer.
    #[error("remote-viewer shows SPICE and VNC, and this console speaks {0}")]
    Protocol(Protocol),
    /// Nor the other way round.
    #[error("a file for FreeRDP and mstsc is for RDP, and this console speaks {0}")]
    NotRdp(Protocol),
    /// A viewer of VNC comes in by its address.
    #[error("a viewer of VNC cannot show a ticket: open the broker with native")]
    NotNative,
    /// Viewers of VNC and RDP speak no TLS before their protocol, and remote-viewer none to a proxy.
    #[error(
        "broker ports speak TLS only here; native viewers of VNC and RDP begin without, as remote-viewer does with a \
         proxy"
    )]
    TlsOnly,
    /// There is no TLS that could go through.
    #[error(
        "TLS goes through to consoles of SPICE that speak it, and this one does not: set tls for its instance"
    )]
    NoTls,
    /// Nobody could keep a channel out of it.
    #[error("channels are switched off here, which they could not be in TLS that goes through")]
    Unseen,
}

/// How a viewer is to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// To the broker's port.
    Port,
    /// By a tunnel through it.
    Tunnel,
    /// By a tunnel, with TLS that only the console ends, whose certificate this is.
    Through(ViewerTls),
}

/// What the hall asks of the relay: how a console shows itself.
pub trait Faces: Send + Sync {
    /// The certificate of a broker's console, believed as the instance has it.
    ///
    /// # Errors
    /// Why the console is not reached.
    fn face(&self, broker: Arc<Broker>) -> BoxFuture<'_, Result<ViewerTls, Refusal>>;
}

/// What all files say alike.
#[derive(Debug)]
pub struct Viewer {
    /// Name that clients are given.
    pub host: Arc<str>,
    /// TLS on broker ports.
    pub tls: Option<Arc<Kept<ViewerTls>>>,
    /// Plain clients are let in too.
    pub plain: bool,
    /// How brokers are named to a proxy.
    pub names: Arc<Names>,
    /// All channels may be opened.
    pub all_channels: bool,
    /// Whoever has the API key may know the machine's password.
    pub reveal_passwords: bool,
}

/// The certificate that a viewer meets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViewerTls {
    /// Whom it is to trust, in PEM; empty for those that its system trusts.
    pub authority: String,
    /// Whose certificate it is: attributes as the certificate has them. What is asked for by another name, as a
    /// proxy's client does, is known by it.
    pub subject: String,
}

impl ViewerTls {
    /// Of a chain in DER, the server's own certificate first. One that ends in its own authority has to be trusted for
    /// it; others are, or are not, by the viewer's system.
    pub fn of<'a>(chain: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let chain: Vec<_> = chain.into_iter().filter_map(|der| Some((der, parse(der)?))).collect();
        let subject = chain.first().map(|(_, server)| subject(server)).unwrap_or_default();
        let last = chain.last().filter(|(_, last)| last.subject() == last.issuer());
        Self { authority: last.map(|(der, _)| pem(der)).unwrap_or_default(), subject }
    }

    /// The same, with these authorities, in DER, in place of the chain's own.
    pub fn with_authorities<'a>(mut self, authorities: impl IntoIterator<Item = &'a [u8]>) -> Self {
        self.authority = authorities.into_iter().map(pem).collect();
        self
    }
}

fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate)
}

/// `C=..,O=..,CN=..`, in the order of the certificate (spice-common, `subject_to_x509_name`).
fn subject(certificate: &X509Certificate<'_>) -> String {
    let registry = x509_parser::objects::oid_registry();
    let attributes = certificate.subject().iter_attributes().filter_map(|attribute| {
        let name = x509_parser::objects::oid2abbrev(attribute.attr_type(), registry).ok()?;
        let value = attribute.as_str().ok()?.replace('\\', "\\\\").replace(',', "\\,");
        Some(format!("{name}={value}"))
    });
    attributes.collect::<Vec<_>>().join(",")
}

/// PEM (RFC 7468) in one line, as key files have it: each end of a line as `\n`.
fn pem(der: &[u8]) -> String {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\\n{}\\n-----END CERTIFICATE-----\\n", lines.join("\\n"))
}

impl Viewer {
    /// The file for remote-viewer, for whoever holds `token`.
    ///
    /// # Errors
    /// See [`NoFile`].
    pub fn file(&self, broker: &Broker, token: &Token, by: &By) -> Result<String, NoFile> {
        match broker.protocol {
            Protocol::Spice => self.spice(broker, token, by),
            Protocol::Vnc | Protocol::Ikvm if !broker.is_native() => Err(NoFile::NotNative),
            Protocol::Vnc | Protocol::Ikvm if !self.plain => Err(NoFile::TlsOnly),
            Protocol::Vnc | Protocol::Ikvm => {
                let mut file = File::new("vnc");
                file.line("host", &self.host);
                file.line("port", &broker.endpoint.port().to_string());
                Ok(file.end(broker))
            }
            other => Err(NoFile::Protocol(other)),
        }
    }

    fn spice(&self, broker: &Broker, token: &Token, by: &By) -> Result<String, NoFile> {
        let port = broker.endpoint.port();
        let mut file = File::new("spice");
        let proxy = |ticket: &str| format!("http://{ticket}{}:{port}", bracketed(&self.host));
        match by {
            By::Port => file.line("host", &self.host),
            By::Tunnel if !self.plain => return Err(NoFile::TlsOnly),
            By::Tunnel => {
                file.line("host", &self.names.name(&broker.id, Way::Ended));
                file.line("proxy", &proxy(""));
            }
            By::Through(face) => {
                self.may_pass(broker)?;
                file.line("host", &self.names.name(&broker.id, Way::Passed));
                // What is said in the tunnel is for the console alone, so the ticket is said to the proxy.
                file.line("proxy", &proxy(&format!("ticket:{}@", token.reveal())));
                file.tls(port, face);
                if let Some(secret) = broker.target().secret.filter(|_| self.reveal_passwords) {
                    file.line("password", secret.reveal());
                }
                return Ok(file.end(broker));
            }
        }
        match &self.tls {
            Some(own) => file.tls(port, &own.current()),
            None => file.line("port", &port.to_string()),
        }
        file.line("password", &token.password());
        Ok(file.end(broker))
    }

    /// Whether TLS may go through to the broker's console.
    ///
    /// # Errors
    /// Why not.
    pub fn may_pass(&self, broker: &Broker) -> Result<(), NoFile> {
        if broker.protocol != Protocol::Spice {
            Err(NoFile::Protocol(broker.protocol))
        } else if broker.target().tls.is_none() {
            Err(NoFile::NoTls)
        } else if !self.plain {
            Err(NoFile::TlsOnly)
        } else if !self.all_channels {
            Err(NoFile::Unseen)
        } else {
            Ok(())
        }
    }
}

/// A file that is written.
struct File(String);

impl File {
    fn new(kind: &str) -> Self {
        Self(format!("[virt-viewer]\ntype={kind}\n"))
    }

    /// Text that somebody chose must not begin a line of its own.
    fn line(&mut self, key: &str, value: &str) {
        let _ = writeln!(self.0, "{key}={}", value.replace(['\r', '\n'], " "));
    }

    fn tls(&mut self, port: u16, ViewerTls { authority, subject }: &ViewerTls) {
        self.line("tls-port", &port.to_string());
        self.line("host-subject", subject);
        if !authority.is_empty() {
            self.line("ca", authority);
        }
    }

    fn end(mut self, broker: &Broker) -> String {
        self.line("title", &broker.instance_id);
        // It is good for one session.
        self.line("delete-this-file", "1");
        self.0
    }
}

/// An address of IPv6 as URLs have it.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::broker::target::TargetTls;
    use crate::broker::target::tls::{Start, Trust};
    use crate::broker::{Admission, Target};

    pub(super) fn broker(protocol: Protocol) -> Broker {
        let admission = Admission {
            client: None,
            tickets_optional: false,
            view_only: false,
            window: Duration::from_secs(30),
        };
        let endpoint = "127.0.80.1:13452".parse().expect("an endpoint");
        let target = Target::new("10.0.0.7", 5901, protocol);
        let id = "b-692af3cae33af3a1fc95".to_owned();
        Broker::new(id, endpoint, "i-1\nca=evil".to_owned(), target, admission, Instant::now())
    }

    pub(super) fn viewer(tls: Option<ViewerTls>, plain: bool) -> Viewer {
        let names = Arc::new(Names::new(&[1; 32], Duration::from_secs(30)));
        let tls = tls.map(|tls| Kept::fixed(Arc::new(tls)));
        let host = "console.example".into();
        Viewer { host, tls, plain, names, all_channels: true, reveal_passwords: false }
    }

    pub(super) fn token() -> Token {
        Token::from_client(&"5a".repeat(32))
    }

    #[test]
    fn a_desktop_is_reached_by_the_ticket() {
        let file = viewer(None, true).file(&broker(Protocol::Spice), &token(), &By::Port).expect("a file");
        let password = token().password();
        assert_eq!(
            file,
            format!(
                "[virt-viewer]\ntype=spice\nhost=console.example\nport=13452\npassword={password}\n\
                 title=i-1 ca=evil\ndelete-this-file=1\n"
            )
        );
    }

    #[test]
    fn a_proxy_is_asked_for_a_name_that_is_none() {
        let viewer = viewer(None, true);
        let file = viewer.file(&broker(Protocol::Spice), &token(), &By::Tunnel).expect("a file");
        let host = file.lines().find_map(|line| line.strip_prefix("host=")).expect("a host");
        let said = viewer.names.read(host, "b-692af3cae33af3a1fc95").expect("a name of ours");
        assert_eq!(said.way, Way::Ended);
        assert!(file.contains("\nproxy=http://console.example:13452\n"), "{file}");
    }

    #[test]
    fn with_tls_the_certificate_is_known_by_its_subject() {
        let mut parameters = rcgen::CertificateParams::new(["x".to_owned()]).expect("names");
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::OrganizationName, "lab, inc");
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "console");
        let key = rcgen::KeyPair::generate().expect("a key");
        let own = parameters.self_signed(&key).expect("a certificate");
        let tls = ViewerTls::of([own.der().as_ref()]);
        assert_eq!(tls.subject, "O=lab\\, inc,CN=console");
        assert_eq!(tls.authority.replace("\\n", "\n").trim(), own.pem().replace("\r\n", "\n").trim());
        let file =
            viewer(Some(tls), false).file(&broker(Protocol::Spice), &token(), &By::Port).expect("a file");
        assert!(file.contains("\ntls-port=13452\n") && !file.contains("\nport="), "{file}");
        assert!(file.contains("\nca=-----BEGIN CERTIFICATE-----\\n"), "{file}");
    }

    #[test]
    fn tls_goes_through_to_a_console_that_speaks_it() {
        let face = ViewerTls { authority: "PEM".to_owned(), subject: "CN=desk".to_owned() };
        let (viewer, by) = (viewer(None, true), By::Through(face));
        let plain = broker(Protocol::Spice);
        assert_eq!(viewer.file(&plain, &token(), &by), Err(NoFile::NoTls));
        let tls = TargetTls { trust: Trust::Ca, start: Start::Connect, server_name: None };
        let desk = broker(Protocol::Spice);
        desk.retarget(Target { tls: Some(Box::new(tls)), ..desk.target() });
        let file = viewer.file(&desk, &token(), &by).expect("a file");
        let proxy = format!("\nproxy=http://ticket:{}@console.example:13452\n", token().reveal());
        assert!(file.contains(&proxy) && file.contains("\ntls-port=13452\n"), "{file}");
        assert!(file.contains("\nhost-subject=CN=desk\nca=PEM\n") && !file.contains("password"), "{file}");
        let some_off = Viewer { all_channels: false, ..viewer };
        assert_eq!(some_off.file(&desk, &token(), &by), Err(NoFile::Unseen));
        // remote-viewer asks a proxy in plain words.
        let tls_only = Viewer { plain: false, all_channels: true, ..some_off };
        for by in [by, By::Tunnel] {
            assert_eq!(tls_only.file(&desk, &token(), &by), Err(NoFile::TlsOnly), "{by:?}");
        }
    }

    #[test]
    fn who_cannot_come_in_gets_no_file() {
        let refused = |viewer: Viewer, protocol| viewer.file(&broker(protocol), &token(), &By::Port).err();
        assert_eq!(refused(viewer(None, true), Protocol::Rdp), Some(NoFile::Protocol(Protocol::Rdp)));
        assert_eq!(refused(viewer(None, true), Protocol::Vnc), Some(NoFile::NotNative));
        let native = broker(Protocol::Vnc);
        native.admit_native(Instant::now());
        let tls_only = viewer(Some(ViewerTls::default()), false);
        assert_eq!(tls_only.file(&native, &token(), &By::Port).err(), Some(NoFile::TlsOnly));
        let file = viewer(None, true).file(&native, &token(), &By::Port).expect("a file");
        assert!(file.contains("\ntype=vnc\n") && !file.contains("password"), "{file}");
    }
}
