//! Only clients whose certificate has one of some common names. That it is good was found by TLS.

use x509_parser::prelude::{FromDer, X509Certificate};

use super::{AuthPlugin, Denied, Visitor, words};

pub struct CommonName(Vec<String>);

impl CommonName {
    /// From names with white space between them.
    pub fn new(source: &str) -> Self {
        Self(words(source))
    }
}

impl AuthPlugin for CommonName {
    fn admit(&self, visitor: &Visitor<'_>) -> Result<(), Denied> {
        let name = visitor.certificate.and_then(common_name);
        let known = name.is_some_and(|name| self.0.contains(&name));
        if known { Ok(()) } else { Err(Denied::Forbidden) }
    }
}

/// The last one in the subject, the nearest to whom it is about (RFC 5280 section 4.1.2.6).
fn common_name(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let name = certificate.subject().iter_common_name().last()?;
    name.as_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(name: Option<&str>) -> Vec<u8> {
        let mut params = CertificateParams::new(["x".to_owned()]).expect("a name");
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    #[test]
    fn only_some_names_may() {
        let plugin = CommonName::new("alice bob.example");
        let headers = HeaderMap::new();
        for (name, good) in [
            (Some("alice"), true),
            (Some("bob.example"), true),
            (Some("alic"), false),
            (Some(""), false),
            (None, false),
        ] {
            let der = certificate(name);
            let visitor = Visitor { headers: &headers, certificate: Some(&der) };
            assert_eq!(plugin.admit(&visitor).is_ok(), good, "{name:?}");
        }
        for certificate in [None, Some(&b"nonsense"[..])] {
            assert!(plugin.admit(&Visitor { headers: &headers, certificate }).is_err());
        }
    }
}
