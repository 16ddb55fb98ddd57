//! The token says itself where it leads: a JSON Web Token (RFC 7519) with the claims `host` and `port`, signed,
//! or signed and then encrypted. One key is for both; only who issues tokens has it, or its private half.

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, Validation, decode};
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::PublicKeyParts;
use serde_json::Value;
use tracing::info;
use x509_parser::pem::parse_x509_pem;

use super::{Destination, LookupError, TokenPlugin, http, jwe};

pub struct Jwt(PathBuf);

impl Jwt {
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }
}

/// What a key file holds, for what it is good for.
pub struct Keys {
    /// To see who signed.
    pub verify: DecodingKey,
    /// To open what was encrypted.
    pub open: Open,
}

/// With what a token is opened.
pub enum Open {
    /// The key that both sides have.
    Octets(Vec<u8>),
    /// The private half.
    Rsa(Box<rsa::PrivateKey>),
    /// Nothing: this key is only to see who signed.
    Nothing,
}

impl TokenPlugin for Jwt {
    fn find(&self, token: &str) -> Result<Option<Destination>, LookupError> {
        // For each client anew, so that the key may be changed.
        let text = fs::read(&self.0).map_err(|source| LookupError::Read { path: self.0.clone(), source })?;
        let keys = Keys::parse(&text).map_err(|why| LookupError::Key { path: self.0.clone(), why })?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let destination = keys.claims(token).and_then(|claims| judge(&claims, now));
        Ok(destination.inspect_err(|why| info!(why, "a token is not good")).ok())
    }
}

impl Keys {
    /// From PEM: a public key, a certificate, or an RSA key with its private half. Anything else is a key that
    /// both sides have, in base64url (RFC 7518 section 6.4).
    pub fn parse(text: &[u8]) -> Result<Self, &'static str> {
        const NO_KEY: &str = "neither PEM nor a key in base64url";
        let text = str::from_utf8(text).map_err(|_| NO_KEY)?.trim();
        if !text.contains("-----BEGIN ") {
            let octets = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| NO_KEY)?;
            let verify = DecodingKey::from_secret(&octets).map_err(|_| NO_KEY)?;
            return Ok(Self { verify, open: Open::Octets(octets) });
        }
        if let Ok(private) =
            rsa::PrivateKey::from_pkcs8_pem(text).or_else(|_| rsa::PrivateKey::from_pkcs1_pem(text))
        {
            let verify = DecodingKey::from_rsa_raw_components(&private.n_bytes(), &private.e_bytes());
            return Ok(Self { verify, open: Open::Rsa(Box::new(private)) });
        }
        let public = certified(text).unwrap_or_else(|| text.to_owned());
        let verify = DecodingKey::from_rsa_pem(public.as_bytes())
            .or_else(|_| DecodingKey::from_ec_pem(public.as_bytes()))
            .or_else(|_| DecodingKey::from_ed_pem(public.as_bytes()))
            .map_err(|_| "PEM without a public key, a certificate, or an RSA key")?;
        Ok(Self { verify, open: Open::Nothing })
    }

    /// What the token says, if it is from whom it should be.
    fn claims(&self, token: &str) -> Result<Value, String> {
        // An encrypted one has five parts, and a signed one in it (RFC 7516 section 9).
        if token.split('.').count() == 5 {
            let inner = jwe::open(token, &self.open)?;
            return self.verified(&inner);
        }
        self.verified(token)
    }

    fn verified(&self, token: &str) -> Result<Value, String> {
        // The kind of key says which algorithms are good, never the token.
        let mut validation = Validation::new_for_family(self.verify.family());
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        decode(token, &self.verify, &validation).map(|data| data.claims).map_err(|error| error.to_string())
    }
}

/// The public key of a certificate, as PEM.
fn certified(text: &str) -> Option<String> {
    let (_, pem) = parse_x509_pem(text.as_bytes()).ok().filter(|(_, pem)| pem.label == "CERTIFICATE")?;
    let certificate = pem.parse_x509().ok()?;
    let key = STANDARD.encode(certificate.public_key().raw);
    Some(format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines(&key)))
}

/// As PEM has it (RFC 7468 section 2).
fn lines(text: &str) -> String {
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    lines.join("\n")
}

/// Whether the token is good now, and where it leads.
fn judge(claims: &Value, now: f64) -> Result<Destination, String> {
    let time = |name: &str| match &claims[name] {
        Value::Null => Ok(None),
        Value::Number(time) => Ok(time.as_f64()),
        _ => Err(format!("its {name} is no time")),
    };
    if time("nbf")?.is_some_and(|from| now < from) {
        return Err("it is not good yet".to_owned());
    } else if time("exp")?.is_some_and(|until| now > until) {
        return Err("it is not good any more".to_owned());
    }
    http::of_members(claims).ok_or_else(|| "it has no host and port".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(claims: Value, target: Result<&str, &str>) {
        let judged = judge(&claims, 1000.0).map(|found| found.to_string());
        assert_eq!(judged.as_deref().map_err(String::as_str), target, "{claims}");
    }

    #[test]
    fn claims_are_judged() {
        check(json!({"host": "h", "port": 1}), Ok("h:1"));
        check(json!({"host": "h", "port": "1", "nbf": 1000, "exp": 1000.5}), Ok("h:1"));
        check(json!({"host": "unix_socket", "port": "/run/x"}), Ok("/run/x"));
        check(json!({"host": "h", "port": 1, "nbf": 1000.5}), Err("it is not good yet"));
        check(json!({"host": "h", "port": 1, "exp": 999}), Err("it is not good any more"));
        check(json!({"host": "h", "port": 1, "exp": "soon"}), Err("its exp is no time"));
        check(json!({"host": "h"}), Err("it has no host and port"));
        check(json!(["h", 1]), Err("it has no host and port"));
    }

    #[test]
    fn what_is_no_key_is_said() {
        for text in ["", "not base64!", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            assert!(Keys::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Keys::parse(&[0xff]).is_err());
        assert!(
            matches!(Keys::parse(b" AAAA \n").map(|keys| keys.open), Ok(Open::Octets(key)) if key == [0; 3])
        );
    }

    #[test]
    fn an_unsigned_token_is_none() {
        let keys = Keys::parse(b"c2VjcmV0").expect("a key");
        let encode = |part: &str| URL_SAFE_NO_PAD.encode(part.as_bytes());
        let claims = encode(r#"{"host": "h", "port": 1}"#);
        for header in [r#"{"alg": "none"}"#, r#"{"alg": "RS256"}"#, r#"{"alg": "HS256"}"#] {
            for signature in ["", "AAAA"] {
                let token = format!("{}.{claims}.{signature}", encode(header));
                assert!(keys.claims(&token).is_err(), "{token}");
            }
        }
        for token in ["", ".", "....", "a.b.c", "a.b.c.d.e", "a.b.c.d.e.f"] {
            assert!(keys.claims(token).is_err(), "{token}");
        }
    }
}
