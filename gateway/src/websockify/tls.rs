//! TLS with clients, as the options say: certificate and key are read again when their files change, and may be
//! written after the start.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow};
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::SecretDocument;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedCipherSuite};
use tracing::{info, warn};

use crate::relay::stream::{Handshake, Tls};
use crate::tls::{self, Kept};

/// Time for a handshake of TLS.
const WITHIN: Duration = Duration::from_secs(10);

/// What the options say.
#[derive(Clone, Debug, Default)]
pub struct TlsPlan {
    /// The certificate, with those that vouch for it.
    pub certificate: PathBuf,
    /// The key; the same file if it is not said.
    pub key: Option<PathBuf>,
    /// What the key is encrypted with.
    pub password: Option<String>,
    /// Nothing is spoken in the clear.
    pub only: bool,
    /// Clients need a certificate, which one of these vouches for; without a file, one that the system trusts.
    pub clients: Option<Option<PathBuf>>,
    /// Cipher suites of TLS 1.2; `None` for all.
    pub suites: Option<Vec<SupportedCipherSuite>>,
    /// Nothing older than TLS 1.3.
    pub only_13: bool,
}

/// What is spoken, as the files are now.
pub struct Certificates {
    plan: TlsPlan,
    last: Mutex<Option<(Stamp, Arc<Kept<ServerConfig>>)>>,
}

/// When which files were written.
type Stamp = [Option<(u64, i64, i64, u64)>; 2];

impl Certificates {
    /// Nothing is read yet.
    pub const fn new(plan: TlsPlan) -> Self {
        Self { plan, last: Mutex::new(None) }
    }

    /// Reads what is there. `false` without a certificate.
    ///
    /// # Errors
    /// It is there, and cannot be used.
    pub fn load(&self) -> anyhow::Result<bool> {
        if !self.plan.certificate.exists() {
            return Ok(false);
        }
        let stamp = self.stamp();
        let config = self.plan.config()?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((stamp, Kept::fixed(Arc::new(config))));
        Ok(true)
    }

    /// What is spoken with a client that comes now.
    pub fn now(&self) -> Tls {
        let current = || {
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.as_ref().map(|(stamp, server)| (*stamp, server.clone()))
        };
        let before = current();
        if self.plan.certificate.exists() && before.as_ref().map(|(stamp, _)| *stamp) != Some(self.stamp()) {
            match self.load() {
                Ok(_) => info!(certificate = %self.plan.certificate.display(), "certificate read"),
                // Half a pair is there while it is replaced; the old one is as good until then.
                Err(error) => warn!(error = format!("{error:#}"), "certificate not read"),
            }
        }
        let Some((_, server)) = current() else { return Tls::Off };
        let handshake = Handshake { server, within: WITHIN };
        if self.plan.only { Tls::Required(handshake) } else { Tls::Optional(handshake) }
    }

    fn stamp(&self) -> Stamp {
        let stamp = |path: &Path| {
            let found = fs::metadata(path).ok()?;
            Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
        };
        [stamp(&self.plan.certificate), self.plan.key.as_deref().and_then(stamp)]
    }
}

impl TlsPlan {
    fn config(&self) -> anyhow::Result<ServerConfig> {
        let chain = tls::certificates(&self.certificate)?;
        let key_file = self.key.as_deref().unwrap_or(&self.certificate);
        let key = self.private_key(key_file)?;
        let provider = Arc::new(self.provider());
        let versions: &[_] = if self.only_13 { &[&TLS13] } else { &[&TLS13, &TLS12] };
        let config =
            ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
        let config = match &self.clients {
            None => config.with_no_client_auth(),
            Some(authorities) => {
                config.with_client_cert_verifier(verifier(authorities.as_deref(), provider)?)
            }
        };
        let files = || format!("{} and {}", self.certificate.display(), key_file.display());
        let mut config = config.with_single_cert(chain, key).with_context(files)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ticketer = ring::Ticketer::new()?;
        Ok(config)
    }

    fn provider(&self) -> CryptoProvider {
        let mut provider = ring::default_provider();
        if let Some(suites) = &self.suites {
            // Those of TLS 1.3 are chosen apart, as in OpenSSL.
            provider.cipher_suites.retain(|suite| suite.tls13().is_some() || suites.contains(suite));
        }
        provider
    }

    /// No message quotes the file.
    fn private_key(&self, path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let name = path.display();
        if let Ok(key) = PrivateKeyDer::from_pem_slice(text.as_bytes()) {
            return Ok(key);
        }
        let pem = encrypted(&text).ok_or_else(|| anyhow!("there is no private key in {name}"))?;
        let password = self.password.as_ref().ok_or_else(|| anyhow!("{name} needs --key-password"))?;
        let damaged = |_| anyhow!("the private key in {name} is damaged");
        let (_, document) = SecretDocument::from_pem(pem).map_err(|_| anyhow!("{name} is damaged"))?;
        let sealed = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(damaged)?;
        let opened = sealed.decrypt(password.as_bytes());
        let opened = opened.map_err(|_| anyhow!("--key-password does not open {name}"))?;
        Ok(PrivatePkcs8KeyDer::from(opened.as_bytes().to_vec()).into())
    }
}

/// The part of a PEM file that is an encrypted key (RFC 7468 section 11).
fn encrypted(text: &str) -> Option<&str> {
    const END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
    let begin = text.find("-----BEGIN ENCRYPTED PRIVATE KEY-----")?;
    let end = text[begin..].find(END)?;
    Some(&text[begin..begin + end + END.len()])
}

fn verifier(
    authorities: Option<&Path>,
    provider: Arc<CryptoProvider>,
) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    let certificates = match authorities {
        Some(path) => tls::certificates(path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    roots.add_parsable_certificates(certificates);
    Ok(WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build()?)
}

/// The cipher suites of TLS 1.2, with OpenSSL's names for them.
pub fn suites() -> Vec<(String, SupportedCipherSuite)> {
    let suites = ring::default_provider().cipher_suites;
    let older = suites.into_iter().filter(|suite| suite.tls13().is_none());
    older.map(|suite| (openssl_name(&format!("{:?}", suite.suite())), suite)).collect()
}

fn openssl_name(name: &str) -> String {
    let name = name.trim_start_matches("TLS_").replace("_WITH_", "_").replace("AES_", "AES");
    name.replace('_', "-").replace("POLY1305-SHA256", "POLY1305")
}

#[cfg(test)]
mod tests {
    use rcgen::generate_simple_self_signed;

    use super::*;

    #[test]
    fn suites_have_the_names_of_openssl() {
        let names: Vec<_> = suites().into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            [
                "ECDHE-ECDSA-AES256-GCM-SHA384",
                "ECDHE-ECDSA-AES128-GCM-SHA256",
                "ECDHE-ECDSA-CHACHA20-POLY1305",
                "ECDHE-RSA-AES256-GCM-SHA384",
                "ECDHE-RSA-AES128-GCM-SHA256",
                "ECDHE-RSA-CHACHA20-POLY1305",
            ]
        );
    }

    #[test]
    fn files_may_come_and_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("self.pem");
        let certificates =
            Certificates::new(TlsPlan { certificate: path.clone(), only: false, ..TlsPlan::default() });
        assert!(!certificates.load().expect("nothing to load"));
        assert!(matches!(certificates.now(), Tls::Off));
        let put = || {
            let own = generate_simple_self_signed(["x".to_owned()]).expect("a certificate");
            let new = folder.path().join("new");
            fs::write(&new, own.cert.pem() + &own.signing_key.serialize_pem()).expect("writes");
            fs::rename(new, &path).expect("moves");
        };
        let config = || match certificates.now() {
            Tls::Optional(handshake) => handshake.server.current(),
            _ => panic!("no TLS"),
        };
        put();
        let first = config();
        assert!(Arc::ptr_eq(&first, &config()), "read once");
        put();
        let second = config();
        assert!(!Arc::ptr_eq(&first, &second), "read again");
        fs::write(&path, "nonsense").expect("writes");
        assert!(Arc::ptr_eq(&second, &config()), "the old one is as good");
        assert!(certificates.load().is_err());
    }
}
