//! TLS toward a target: the connection as it is becomes one that is encrypted, with a certificate that was
//! believed for a reason. Which reason is the target's own ([`TargetTls`]).

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::broker::target::TargetTls;
use crate::broker::target::tls::{Fingerprint, Trust};
use crate::tls::{self, Kept, Look, TlsError};

/// How TLS toward targets is done, for all of them.
#[derive(Debug, Default)]
pub struct Connector {
    /// Their file.
    ca: Option<PathBuf>,
    /// Authorities for [`Trust::Ca`]; without them the system's, looked up when they are needed.
    roots: Option<Arc<Kept<RootCertStore>>>,
    systems: OnceLock<Arc<RootCertStore>>,
    /// Whether [`Trust::Insecure`] may be.
    pub insecure: bool,
}

/// Why there is no TLS with a target.
#[derive(Debug, thiserror::Error)]
pub enum TargetTlsError {
    /// The connection broke, or the certificate is not believed: it is in the source.
    #[error("TLS with {name}: {source}")]
    Handshake {
        /// Who was to be there.
        name: String,
        /// What rustls or the system said.
        source: io::Error,
    },
    /// Such a name is in no certificate.
    #[error("TLS with {name}: this is no name for a certificate; set tls_server_name")]
    Name {
        /// The name.
        name: String,
    },
    /// There is nobody to vouch for a certificate.
    #[error("TLS with {name}: this system trusts no authority; set targets.ca")]
    NoRoots {
        /// Who was to be there.
        name: String,
    },
    /// The configuration does not permit it.
    #[error("TLS with {name} is insecure, and targets.insecure_tls is not true")]
    Insecure {
        /// Who was to be there.
        name: String,
    },
}

impl TargetTlsError {
    /// The alert that ended the handshake, sent by either side (RFC 8446 section 6), if it is known.
    pub fn alert(&self) -> Option<u8> {
        let Self::Handshake { source, .. } = self else { return None };
        match source.get_ref()?.downcast_ref()? {
            rustls::Error::AlertReceived(alert) => Some((*alert).into()),
            rustls::Error::InvalidCertificate(error) => Some(AlertDescription::from(error.clone()).into()),
            _ => None,
        }
    }
}

impl Connector {
    /// With the authorities of a PEM file, which are followed; without one, with those of the system.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn new(ca: Option<&PathBuf>, insecure: bool) -> Result<Self, TlsError> {
        let kept = |path: PathBuf| Kept::new(vec![path.clone()], move || tls::roots(&path));
        Ok(Self {
            ca: ca.cloned(),
            roots: ca.cloned().map(kept).transpose()?,
            systems: OnceLock::new(),
            insecure,
        })
    }

    /// The authorities of [`Trust::Ca`], in DER; none where they are the system's.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn authorities(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        self.ca.as_deref().map_or(Ok(Vec::new()), tls::certificates)
    }

    /// What is to be looked after.
    pub fn kept(&self) -> Option<Arc<dyn Look>> {
        self.roots.clone().map(|roots| roots as Arc<dyn Look>)
    }

    /// Does the handshake on `stream`, which leads to `host`. There is no deadline.
    ///
    /// # Errors
    /// See [`TargetTlsError`].
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        host: &str,
        policy: &TargetTls,
    ) -> Result<TlsStream<S>, TargetTlsError> {
        let name = policy.server_name.as_deref().unwrap_or(host);
        let config = self.config(&policy.trust, name)?;
        let server = match policy.trust {
            // Nobody looks for it in the certificate, and a socket of this machine has none.
            Trust::FirstUse => server_name(name).or_else(|| server_name("127.0.0.1")),
            _ => server_name(name),
        };
        let server = server.ok_or_else(|| TargetTlsError::Name { name: name.to_owned() })?;
        let connected = TlsConnector::from(Arc::new(config)).connect(server, stream).await;
        connected.map_err(|source| TargetTlsError::Handshake { name: name.to_owned(), source })
    }

    fn config(&self, trust: &Trust, name: &str) -> Result<ClientConfig, TargetTlsError> {
        let failed = |error: rustls::Error| TargetTlsError::Handshake {
            name: name.to_owned(),
            source: io::Error::other(error),
        };
        let provider = tls::provider();
        let verifier: Arc<dyn ServerCertVerifier> = match trust {
            Trust::Insecure if !self.insecure => {
                return Err(TargetTlsError::Insecure { name: name.to_owned() });
            }
            Trust::Insecure => Arc::new(Anybody(provider.clone())),
            Trust::Pin(print) => Arc::new(Pinned(Some(*print), provider.clone())),
            // Who asked compares it with the one that was met first.
            Trust::FirstUse => Arc::new(Pinned(None, provider.clone())),
            Trust::Ca => {
                let roots = self.roots().ok_or_else(|| TargetTlsError::NoRoots { name: name.to_owned() })?;
                WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
                    .build()
                    .map_err(|error| failed(rustls::Error::General(error.to_string())))?
            }
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        // One that is resumed shows no certificate, and was believed for the reason of another target.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn roots(&self) -> Option<Arc<RootCertStore>> {
        let systems = || {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(roots)
        };
        let roots = match &self.roots {
            Some(kept) => kept.current(),
            None => self.systems.get_or_init(systems).clone(),
        };
        (!roots.is_empty()).then_some(roots)
    }
}

/// The name as TLS has it. An address may have its zone, which no certificate has.
fn server_name(name: &str) -> Option<ServerName<'static>> {
    let without_zone = name.split_once('%').map_or(name, |(address, _)| address);
    ServerName::try_from(without_zone.to_owned()).ok()
}

/// Believes one certificate, or whichever is shown, and that whoever shows it has its key.
#[derive(Debug)]
struct Pinned(Option<Fingerprint>, Arc<CryptoProvider>);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = Fingerprint::of(certificate);
        if self.0.is_none_or(|pinned| shown == pinned) {
            return Ok(ServerCertVerified::assertion());
        }
        let other = format!("its certificate is another one, {shown}");
        let other = rustls::OtherError(Arc::new(io::Error::other(other)));
        Err(CertificateError::Other(other).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.1.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.1.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.1.signature_verification_algorithms.supported_schemes()
    }
}

/// Believes everybody, and looks at nothing: certificates that old consoles made of themselves are often such
/// that nobody could read them.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsAcceptor;

    use crate::broker::target::tls::Start;

    use super::*;

    const NAME: &str = "console.example";

    fn certificate() -> CertifiedKey<KeyPair> {
        generate_simple_self_signed([NAME.to_owned()]).expect("a certificate")
    }

    /// What becomes of a handshake with a console that has `own`.
    async fn check(
        connector: &Connector,
        own: &CertifiedKey<KeyPair>,
        host: &str,
        policy: &TargetTls,
    ) -> Result<(), String> {
        let key = PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .expect("a certificate with its key");
        let (near, far) = tokio::io::duplex(16 * 1024);
        let console = async {
            let mut console = TlsAcceptor::from(Arc::new(config)).accept(far).await?;
            console.write_all(b"RFB").await?;
            console.shutdown().await
        };
        let gateway = async {
            let mut stream =
                connector.connect(near, host, policy).await.map_err(|error| error.to_string())?;
            let mut said = String::new();
            stream.read_to_string(&mut said).await.map_err(|error| error.to_string())?;
            assert_eq!(said, "RFB");
            Ok(())
        };
        tokio::join!(gateway, console).0
    }

    fn policy(trust: Trust) -> TargetTls {
        TargetTls { trust, start: Start::Connect, server_name: None }
    }

    #[tokio::test]
    async fn who_is_believed_is_the_targets_choice() {
        let (own, other) = (certificate(), certificate());
        let trusting = |certified: &CertifiedKey<KeyPair>| {
            let mut roots = RootCertStore::empty();
            roots.add(certified.cert.der().clone()).expect("a certificate");
            Connector { roots: Some(Kept::fixed(Arc::new(roots))), insecure: true, ..Connector::default() }
        };
        let pin = |certified: &CertifiedKey<KeyPair>| Trust::Pin(Fingerprint::of(certified.cert.der()));
        let named = |name: &str| TargetTls { server_name: Some(name.to_owned()), ..policy(Trust::Ca) };
        for (what, connector, host, policy, refused) in [
            ("its authority", trusting(&own), NAME, policy(Trust::Ca), ""),
            ("another authority", trusting(&other), NAME, policy(Trust::Ca), "invalid peer certificate"),
            ("another name", trusting(&own), "other.example", policy(Trust::Ca), "not valid for name"),
            ("its name, at an address", trusting(&own), "192.0.2.1", named(NAME), ""),
            ("no name", trusting(&own), "a..b", policy(Trust::Ca), "set tls_server_name"),
            ("its fingerprint", trusting(&other), "192.0.2.1", policy(pin(&own)), ""),
            ("its fingerprint, with a zone", trusting(&other), "fe80::1%eth0", policy(pin(&own)), ""),
            ("another's", trusting(&own), NAME, policy(pin(&other)), "its certificate is another one, "),
            ("the first", trusting(&other), "", policy(Trust::FirstUse), ""),
            ("nobody", trusting(&other), NAME, policy(Trust::Insecure), ""),
            ("nobody, unasked", Connector::default(), NAME, policy(Trust::Insecure), "insecure_tls"),
        ] {
            match check(&connector, &own, host, &policy).await {
                Ok(()) => assert!(refused.is_empty(), "{what} was believed"),
                Err(said) => assert!(!refused.is_empty() && said.contains(refused), "{what}: {said}"),
            }
        }
    }
}
