//! Certificates and keys from files: what a TLS server of ours is made of, which clients it asks for theirs, and
//! which certificates a client of ours trusts. What follows its files is in `kept`, which of several is shown in
//! `names`.
//!
//! No message from here quotes what is in a file: it may be the key.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

pub use kept::{Kept, Look};
use names::Names;

mod kept;
mod names;

/// Why there is no TLS with these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what PEM looks like (RFC 7468).
    #[error("{} is damaged, or is not PEM", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// No `CERTIFICATE` in the file.
    #[error("there is no certificate in {}", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// No private key in the file that can be read without a passphrase.
    #[error("there is no private key in {}, or it is encrypted", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is of a kind that is not supported, or the certificate is not one.
    #[error("{} and {} cannot be used: {source}", certificate.display(), key.display())]
    Unusable {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
    /// The key is another certificate's.
    #[error("the key in {} does not belong to the certificate in {}", key.display(), certificate.display())]
    Mismatch {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
    },
}

/// The cryptography of all TLS here, servers' and clients'.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A certificate of a server, and its key: PEM files.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The certificate chain, the server's own first.
    pub certificate: PathBuf,
    /// The private key: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

impl Identity {
    fn load(&self) -> Result<CertifiedKey, TlsError> {
        let (chain, private) = (certificates(&self.certificate)?, private_key(&self.key)?);
        CertifiedKey::from_der(chain, private, &provider()).map_err(|source| match source {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::Mismatch { certificate: self.certificate.clone(), key: self.key.clone() }
            }
            source => self.unusable(source),
        })
    }

    fn unusable(&self, source: rustls::Error) -> TlsError {
        TlsError::Unusable { certificate: self.certificate.clone(), key: self.key.clone(), source }
    }
}

/// Which certificates a server asks its clients for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Clients {
    /// None.
    #[default]
    Anybody,
    /// Who shows one needs one by an authority of this PEM file.
    Optional(PathBuf),
    /// All need one by an authority of this PEM file.
    Certified(PathBuf),
}

impl Clients {
    const fn authorities(&self) -> Option<&PathBuf> {
        match self {
            Self::Anybody => None,
            Self::Optional(path) | Self::Certified(path) => Some(path),
        }
    }
}

/// What a server shows and asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its certificates, at least one. A client is shown the first that is for the name that it asks for.
    pub own: Vec<Identity>,
    /// Those of its clients.
    pub clients: Clients,
}

impl Server {
    /// The server. It speaks TLS 1.2 and 1.3, and HTTP/1.1 in it.
    ///
    /// # Errors
    /// See [`TlsError`].
    ///
    /// # Panics
    /// It has no certificate.
    pub fn config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let own = self.own.iter().map(|own| own.load().map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
        let unusable = |source| self.own[0].unusable(source);
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let config = match self.clients.authorities() {
            None => config.with_no_client_auth(),
            Some(path) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots(path)?, provider());
                let verifier = match &self.clients {
                    Clients::Optional(_) => verifier.allow_unauthenticated(),
                    _ => verifier,
                };
                config.with_client_cert_verifier(
                    verifier.build().map_err(|_| TlsError::Damaged { path: path.clone() })?,
                )
            }
        };
        let mut config = config.with_cert_resolver(Arc::new(Names(own)));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A page is a handful of connections. With tickets the later ones need no signature, and with these
        // no memory that cores would share.
        config.ticketer = ring::Ticketer::new().map_err(unusable)?;
        Ok(Arc::new(config))
    }

    /// The same, following its files. What was agreed on with tickets of before is not taken up again.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn kept(self) -> Result<Arc<Kept<ServerConfig>>, TlsError> {
        let own = self.own.iter().flat_map(|own| [own.certificate.clone(), own.key.clone()]);
        let files = own.chain(self.clients.authorities().cloned()).collect();
        Kept::new(files, move || self.config())
    }
}

/// All certificates in a PEM file, at least one.
///
/// # Errors
/// See [`TlsError`].
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match chain {
        Ok(chain) if chain.is_empty() => Err(TlsError::NoCertificate { path: path.into() }),
        Ok(chain) => Ok(chain),
        Err(_) => Err(TlsError::Damaged { path: path.into() }),
    }
}

/// The authorities of a PEM file, at least one.
///
/// # Errors
/// See [`TlsError`].
pub fn roots(path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|_| TlsError::Damaged { path: path.into() })?;
    }
    Ok(Arc::new(roots))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey { path: path.into() },
        _ => TlsError::Damaged { path: path.into() },
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};

    use super::*;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"))
        }

        fn put(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::write(&path, text).expect("writes");
            path
        }
    }

    fn server(certificate: &Path, key: &Path) -> Server {
        let own = Identity { certificate: certificate.into(), key: key.into() };
        Server { own: vec![own], clients: Clients::Anybody }
    }

    fn signed() -> CertifiedKey<KeyPair> {
        generate_simple_self_signed(["console.example".to_owned()]).expect("a certificate")
    }

    /// The SEC1 key (RFC 5915) that stands in the PKCS#8 of a P-256 key, behind 29 bytes.
    fn sec1(pair: &KeyPair) -> String {
        let der = pair.serialize_der();
        assert_eq!(der[27], 4, "an octet string");
        let text = base64::engine::general_purpose::STANDARD.encode(&der[29..]);
        format!("-----BEGIN EC PRIVATE KEY-----\n{text}\n-----END EC PRIVATE KEY-----\n")
    }

    #[test]
    fn every_kind_of_file_that_is_right_is_taken() {
        let files = Files::new();
        let (own, issuer) = (signed(), signed());
        let chain = own.cert.pem() + &issuer.cert.pem();
        let key = own.signing_key.serialize_pem();
        for (what, certificate, key) in [
            ("PKCS#8", own.cert.pem(), key.clone()),
            ("SEC1", own.cert.pem(), sec1(&own.signing_key)),
            ("a chain", chain.clone(), key.clone()),
            ("both in one", chain.clone() + &key, chain + &key),
            ("words around it", format!("subject=x\n{}", own.cert.pem()), format!("Key:\n{key}")),
        ] {
            let (certificate, key) = (files.put("crt", &certificate), files.put("key", &key));
            let config =
                server(&certificate, &key).config().unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(config.alpn_protocols, [b"http/1.1".to_vec()]);
            assert!(config.ticketer.enabled());
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_key() {
        let files = Files::new();
        let own = signed();
        let key = own.signing_key.serialize_pem();
        let secret = key.lines().nth(1).expect("a line of the key").to_owned();
        let certificate = files.put("good.crt", &own.cert.pem());
        let good = files.put("good.key", &key);
        let other = files.put("other.key", &signed().signing_key.serialize_pem());
        let empty = files.put("empty", "");
        let one_line = files.put("one-line", &format!("-----BEGIN PRIVATE KEY----{secret}\n"));
        let cut = files.put("cut", &key[..key.len() - 30]);
        let no_der = files.put("no-der", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
        let missing = files.0.path().join("missing");
        for (certificate, key, said) in [
            (&missing, &good, "missing: No such file"),
            (&certificate, &missing, "missing: No such file"),
            (&empty, &good, "there is no certificate in "),
            (&good, &good, "there is no certificate in "),
            (&certificate, &empty, "there is no private key in "),
            (&certificate, &certificate, "there is no private key in "),
            (&certificate, &one_line, "one-line is damaged, or is not PEM"),
            (&certificate, &cut, "cut is damaged, or is not PEM"),
            (&one_line, &good, "one-line is damaged, or is not PEM"),
            (&certificate, &no_der, "cannot be used"),
            (&certificate, &other, "other.key does not belong to the certificate in "),
        ] {
            let error = server(certificate, key).config().expect_err(said);
            assert!(error.to_string().contains(said), "{error}");
            for shown in [error.to_string(), format!("{error:?}")] {
                assert!(!shown.contains(&secret), "the key is in {shown}");
            }
        }
    }
}
