//! Which of several certificates a client is shown: the first for the name that it asks for (SNI, RFC 6066
//! section 3), and the first of all where none is, or it asks for none.

use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// All certificates of a server, at least one.
#[derive(Debug)]
pub(super) struct Names(pub Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // There may be one for each kind of key, and an old client takes but one kind.
        let can = |own: &&Arc<CertifiedKey>| own.key.choose_scheme(hello.signature_schemes()).is_some();
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let named = name.and_then(|name| self.0.iter().filter(can).find(|own| is_for(own, &name)));
        named.or_else(|| self.0.iter().find(can)).cloned()
    }
}

/// Whether a certificate is for `name`, by wildcard too.
fn is_for(own: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let certificate = own.end_entity_cert().and_then(ParsedCertificate::try_from);
    certificate.is_ok_and(|certificate| verify_server_name(&certificate, name).is_ok())
}
