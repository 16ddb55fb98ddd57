//! Files for remote-viewer (`.vv`, remote-viewer(1)): how a native viewer finds a broker, and what it shows there.

use std::fmt::Write as _;
use std::sync::Arc;

use x509_parser::prelude::{FromDer, X509Certificate};

use super::pseudo_name::Names;
use super::ticket::Token;
use super::{Broker, Protocol};

/// Its type.
pub const CONTENT_TYPE: &str = "application/x-virt-viewer";

/// Why there is none for a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoFile {
    /// There is no such viewer.
    #[error("remote-viewer shows SPICE and VNC, and this console speaks {0}")]
    Protocol(Protocol),
    /// A viewer of VNC comes in by its address.
    #[error("a viewer of VNC cannot show a ticket: open the broker with native")]
    NotNative,
    /// A viewer of VNC speaks no TLS before RFB.
    #[error("broker ports speak TLS only here, and a viewer of VNC does not")]
    TlsOnly,
}

/// What all files say alike.
#[derive(Debug)]
pub struct Viewer {
    /// Name that clients are given.
    pub host: Arc<str>,
    /// TLS on broker ports.
    pub tls: Option<ViewerTls>,
    /// Plain clients are let in too.
    pub plain: bool,
    /// How brokers are named to a proxy.
    pub names: Arc<Names>,
}

/// The certificate that a viewer meets.
#[derive(Debug, Default)]
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
    /// The file for whoever holds `token`; with `by_proxy`, for a viewer that goes through the broker's port as its
    /// proxy, and asks for a name there that is none.
    ///
    /// # Errors
    /// See [`NoFile`].
    pub fn file(&self, broker: &Broker, token: &Token, by_proxy: bool) -> Result<String, NoFile> {
        let (kind, password) = match broker.protocol {
            Protocol::Spice => ("spice", Some(token.password())),
            Protocol::Vnc | Protocol::Ikvm if !broker.is_native() => return Err(NoFile::NotNative),
            Protocol::Vnc | Protocol::Ikvm if !self.plain => return Err(NoFile::TlsOnly),
            Protocol::Vnc | Protocol::Ikvm => ("vnc", None),
            other => return Err(NoFile::Protocol(other)),
        };
        let port = broker.endpoint.port();
        let mut file = format!("[virt-viewer]\ntype={kind}\n");
        let mut line = |key: &str, value: &str| {
            // Text that somebody chose must not begin a line of its own.
            let _ = writeln!(file, "{key}={}", value.replace(['\r', '\n'], " "));
        };
        if by_proxy && kind == "spice" {
            line("host", &self.names.name(&broker.id));
            line("proxy", &format!("http://{}:{port}", bracketed(&self.host)));
        } else {
            line("host", &self.host);
        }
        match self.tls.as_ref().filter(|_| kind == "spice") {
            Some(ViewerTls { authority, subject }) => {
                line("tls-port", &port.to_string());
                line("host-subject", subject);
                if !authority.is_empty() {
                    line("ca", authority);
                }
            }
            None => line("port", &port.to_string()),
        }
        if let Some(password) = password {
            line("password", &password);
        }
        line("title", &broker.instance_id);
        // It is good for one session.
        line("delete-this-file", "1");
        Ok(file)
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
    use crate::broker::{Admission, Target};

    fn broker(protocol: Protocol) -> Broker {
        let admission = Admission {
            client: None,
            tickets_optional: false,
            view_only: false,
            window: Duration::from_secs(30),
        };
        let endpoint = "127.0.80.1:13452".parse().expect("an endpoint");
        let target = Target::new("10.0.0.7", 5901, protocol);
        let id = "b-e33af3a1fc989695".to_owned();
        Broker::new(id, endpoint, "i-1\nca=evil".to_owned(), target, admission, Instant::now())
    }

    fn viewer(tls: Option<ViewerTls>, plain: bool) -> Viewer {
        Viewer { host: "console.example".into(), tls, plain, names: Arc::new(Names::new().expect("a key")) }
    }

    fn token() -> Token {
        Token::from_client(&"5a".repeat(32))
    }

    #[test]
    fn a_desktop_is_reached_by_the_ticket() {
        let file = viewer(None, true).file(&broker(Protocol::Spice), &token(), false).expect("a file");
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
        let file = viewer.file(&broker(Protocol::Spice), &token(), true).expect("a file");
        let host = file.lines().find_map(|line| line.strip_prefix("host=")).expect("a host");
        assert!(viewer.names.is(host, "b-e33af3a1fc989695"), "{host}");
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
        let file = viewer(Some(tls), false).file(&broker(Protocol::Spice), &token(), false).expect("a file");
        assert!(file.contains("\ntls-port=13452\n") && !file.contains("\nport="), "{file}");
        assert!(file.contains("\nca=-----BEGIN CERTIFICATE-----\\n"), "{file}");
    }

    #[test]
    fn who_cannot_come_in_gets_no_file() {
        let refused = |viewer: Viewer, protocol| viewer.file(&broker(protocol), &token(), false).err();
        assert_eq!(refused(viewer(None, true), Protocol::Rdp), Some(NoFile::Protocol(Protocol::Rdp)));
        assert_eq!(refused(viewer(None, true), Protocol::Vnc), Some(NoFile::NotNative));
        let native = broker(Protocol::Vnc);
        native.admit_native(Instant::now());
        let tls_only = viewer(Some(ViewerTls::default()), false);
        assert_eq!(tls_only.file(&native, &token(), false).err(), Some(NoFile::TlsOnly));
        let file = viewer(None, true).file(&native, &token(), false).expect("a file");
        assert!(file.contains("\ntype=vnc\n") && !file.contains("password"), "{file}");
    }
}
