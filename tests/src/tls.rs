//! An authority of the test's own, certificates by it, and clients that trust it and nobody else.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned, SupportedProtocolVersion,
};
use tokio_rustls::TlsAcceptor;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::gateway::agent_with;
use crate::{PATIENCE, target};

/// A TLS connection of a client.
pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Who vouches for the gateway.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    /// One whose files are in `folder`.
    ///
    /// # Panics
    /// The folder cannot be written.
    pub fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::new([]).expect("names");
        params.distinguished_name.push(DnType::CommonName, "an authority of the tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        std::fs::write(folder.join("ca.crt"), issuer.pem()).expect("writes");
        Self { issuer, folder: folder.to_owned() }
    }

    /// Its certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// Lines of configuration that name a certificate for `names` and its key, made now.
    ///
    /// # Panics
    /// The folder cannot be written.
    pub fn issue(&self, names: &[&str]) -> [String; 2] {
        self.issue_for(names, &KeyPair::generate().expect("a key").serialize_pem())
    }

    /// The same for a key that is there, PKCS#8 in PEM.
    ///
    /// # Panics
    /// The folder cannot be written, or it is no key.
    pub fn issue_for(&self, names: &[&str], key: &str) -> [String; 2] {
        let certificate = self.sign(names, &KeyPair::from_pem(key).expect("a key"));
        let files = [("certificate", certificate.pem()), ("key", key.to_owned())];
        files.map(|(name, text)| format!("tls.{name} = {:?}", self.put(name, &text)))
    }

    /// Files with another certificate and its key, which are called after `stem`.
    ///
    /// # Panics
    /// The folder cannot be written.
    pub fn issue_as(&self, stem: &str, names: &[&str]) -> [PathBuf; 2] {
        let pair = KeyPair::generate().expect("a key");
        let files = [("crt", self.sign(names, &pair).pem()), ("key", pair.serialize_pem())];
        files.map(|(ending, text)| self.put(&format!("{stem}.{ending}"), &text))
    }

    fn sign(&self, names: &[&str], pair: &KeyPair) -> rcgen::Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("names");
        params.signed_by(pair, &self.issuer).expect("a certificate")
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, text).expect("writes");
        path
    }

    /// A client that shows a certificate of this authority for `name`, and trusts `trusted`.
    ///
    /// # Panics
    /// Never with a name.
    pub fn client_with(&self, name: &str, trusted: &Self) -> Arc<ClientConfig> {
        let pair = KeyPair::generate().expect("a key");
        let chain = vec![self.sign(&[name], &pair).der().clone()];
        let key = PrivateKeyDer::Pkcs8(pair.serialize_der().into());
        let config = ClientConfig::builder_with_provider(portcullis::tls::provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(trusted.roots())
            .with_client_auth_cert(chain, key);
        Arc::new(config.expect("a certificate with its key"))
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::clone(self.issuer.der())).expect("a certificate");
        roots
    }

    /// A client of these versions.
    ///
    /// # Panics
    /// Never with versions that exist.
    pub fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_provider(portcullis::tls::provider())
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        Arc::new(config)
    }

    /// Connects to `endpoint`; the handshake begins with the first byte that is written or read.
    ///
    /// # Panics
    /// The port is closed.
    pub fn connect(&self, endpoint: SocketAddr) -> Stream {
        begin(self.client(rustls::ALL_VERSIONS), endpoint)
    }

    /// An HTTP client.
    pub fn agent(&self) -> ureq::Agent {
        let trusted = [Certificate::from_der(self.issuer.der()).to_owned()];
        let tls = TlsConfig::builder().unversioned_rustls_crypto_provider(portcullis::tls::provider());
        agent_with(tls.root_certs(RootCerts::from(trusted)).build())
    }
}

/// What stands in front of a target on loopback and speaks TLS, with the certificate and key that an
/// [`Authority`] put into `folder` last, until the process ends. Returns its port.
///
/// # Panics
/// There is none.
pub fn front(folder: &Path, target: u16) -> u16 {
    let (certificate, key) = (folder.join("certificate"), folder.join("key"));
    let config = ServerConfig::builder_with_provider(portcullis::tls::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(certificate).expect("a certificate")],
            PrivateKeyDer::from_pem_file(key).expect("a key"),
        )
        .expect("a certificate with its key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    listener.set_nonblocking(true).expect("an option");
    let relay = move |stream, acceptor: TlsAcceptor| async move {
        let mut stream = acceptor.accept(stream).await?;
        let mut target = tokio::net::TcpStream::connect(("127.0.0.1", target)).await?;
        tokio::io::copy_bidirectional(&mut stream, &mut target).await
    };
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(relay(stream, acceptor.clone()));
            }
        });
    });
    port
}

/// Connects to `endpoint`; the handshake begins with the first byte that is written or read.
///
/// # Panics
/// The port is closed.
pub fn begin(config: Arc<ClientConfig>, endpoint: SocketAddr) -> Stream {
    begin_named(config, endpoint, &endpoint.ip().to_string())
}

/// The same, asking for `name`.
///
/// # Panics
/// The port is closed.
pub fn begin_named(config: Arc<ClientConfig>, endpoint: SocketAddr, name: &str) -> Stream {
    begin_on(config, target::connect(endpoint, PATIENCE).expect("the port is open"), name)
}

/// The same on a connection that is there.
///
/// # Panics
/// It is no name.
pub fn begin_on(config: Arc<ClientConfig>, stream: TcpStream, name: &str) -> Stream {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    StreamOwned::new(ClientConnection::new(config, name).expect("a client"), stream)
}
