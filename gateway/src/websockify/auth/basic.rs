//! One name with one password, by HTTP's Basic scheme (RFC 7617).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::AUTHORIZATION;
use sha2::{Digest, Sha256};

use super::{AuthPlugin, Denied, Visitor};

/// The credentials, hashed: comparing takes as long whatever is shown.
pub struct Basic(Vec<[u8; 32]>);

impl Basic {
    /// From `name:password`.
    pub fn new(source: &str) -> Self {
        let utf8 = source.as_bytes().to_vec();
        // Older browsers send Latin-1, where it can be said in that.
        let latin1: Option<Vec<u8>> = source.chars().map(|char| u8::try_from(char).ok()).collect();
        Self([Some(utf8), latin1].into_iter().flatten().map(|bytes| hash(&bytes)).collect())
    }
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

impl AuthPlugin for Basic {
    fn admit(&self, visitor: &Visitor<'_>) -> Result<(), Denied> {
        let Some(shown) = visitor.headers.get(AUTHORIZATION) else { return Err(Denied::Password) };
        let shown = shown.to_str().ok().and_then(|text| text.split_once(' '));
        let basic = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
        let credentials = basic.and_then(|(_, text)| STANDARD.decode(text.trim()).ok());
        let credentials = credentials.filter(|bytes| bytes.contains(&b':')).ok_or(Denied::Forbidden)?;
        if self.0.contains(&hash(&credentials)) { Ok(()) } else { Err(Denied::Password) }
    }
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    use super::*;

    fn check(source: &str, shown: Option<&str>, admitted: Result<(), Denied>) {
        let mut headers = HeaderMap::new();
        if let Some(shown) = shown {
            headers.insert(AUTHORIZATION, shown.parse().expect("a header"));
        }
        let visitor = Visitor { headers: &headers, certificate: None };
        assert_eq!(Basic::new(source).admit(&visitor), admitted, "{source} {shown:?}");
    }

    #[test]
    fn one_name_has_one_password() {
        let basic = |bytes: &[u8]| format!("Basic {}", STANDARD.encode(bytes));
        check("me:pass:word", Some(&basic(b"me:pass:word")), Ok(()));
        check("me:pass", Some(&basic(b"me:pass").replace("Basic", "basic")), Ok(()));
        check("me:p\u{e4}ss", Some(&basic("me:p\u{e4}ss".as_bytes())), Ok(()));
        check("me:p\u{e4}ss", Some(&basic(b"me:p\xe4ss")), Ok(()));
        check("me:pass", None, Err(Denied::Password));
        for wrong in ["me:pas", "me:passs", "you:pass", ":", "me:"] {
            check("me:pass", Some(&basic(wrong.as_bytes())), Err(Denied::Password));
        }
        for nonsense in ["Basic", "Basic !", "Bearer bWU6cGFzcw==", "bWU6cGFzcw==", &basic(b"mepass")] {
            check("me:pass", Some(nonsense), Err(Denied::Forbidden));
        }
    }
}
