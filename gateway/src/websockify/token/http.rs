//! A service that is asked over HTTP: its URL has `%s` where the token goes.

use std::time::Duration;

use serde_json::Value;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::tls;

use super::{Destination, LookupError, PluginError, TokenPlugin};

/// Time for a whole answer.
const WITHIN: Duration = Duration::from_secs(10);

/// Longest answer that is read, in bytes.
const ANSWER_MAX: u64 = 64 * 1024;

/// How an answer is read.
pub type Read = fn(&str) -> Option<Destination>;

pub struct Api {
    /// What the URL has before the token, and behind it.
    before: String,
    behind: String,
    read: Read,
    agent: ureq::Agent,
}

impl Api {
    pub fn new(class: &'static str, source: &str, read: Read) -> Result<Self, PluginError> {
        let wanted = "a URL with %s for the token";
        // Not the whole of it: there may be a password in it.
        let wrong = || PluginError::WrongSource { class, source_text: shown(source).to_owned(), wanted };
        let (before, behind) = source.split_once("%s").ok_or_else(wrong)?;
        let scheme = before.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        let https = match scheme.as_deref() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        // As the percent sign has to be written there.
        let [before, behind] = [before, behind].map(|part| part.replace("%%", "%"));
        Ok(Self { before, behind, read, agent: agent(https) })
    }
}

/// Scheme and host, without who asks.
fn shown(url: &str) -> &str {
    url.split_once('@').map_or(url, |(_, rest)| rest)
}

fn agent(https: bool) -> ureq::Agent {
    // Reading all that the system trusts takes a while, so only https asks for it.
    let trusted = if https { rustls_native_certs::load_native_certs().certs } else { Vec::new() };
    let roots = trusted.iter().map(|der| Certificate::from_der(der).to_owned());
    let tls = TlsConfig::builder().unversioned_rustls_crypto_provider(tls::provider());
    let tls = tls.root_certs(RootCerts::from(roots)).build();
    let agent = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(WITHIN));
    agent.tls_config(tls).build().into()
}

impl TokenPlugin for Api {
    fn find(&self, token: &str) -> Result<Option<Destination>, LookupError> {
        let whom = || shown(&self.before).to_owned();
        let failed = |error: ureq::Error| LookupError::Ask { whom: whom(), why: reason(&error) };
        // A token may not say what is asked for, and whom.
        let url = format!("{}{}{}", self.before, encode(token), self.behind);
        let mut answer = self.agent.get(url).call().map_err(failed)?;
        let status = answer.status();
        if status.is_client_error() {
            return Ok(None);
        } else if !status.is_success() {
            return Err(LookupError::Ask { whom: whom(), why: format!("it answers {status}") });
        }
        let body = answer.body_mut().with_config().limit(ANSWER_MAX).read_to_string().map_err(failed)?;
        (self.read)(&body).map(Some).ok_or_else(|| LookupError::Nonsense { whom: whom() })
    }
}

/// Without the URL that some messages have, since the token is in it.
fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::BadUri(_) => "this is no URL".to_owned(),
        other => other.to_string(),
    }
}

/// `host:port`.
pub fn text(body: &str) -> Option<Destination> {
    Destination::parse(body)
}

/// `{"host": "...", "port": ...}`.
pub fn json(body: &str) -> Option<Destination> {
    let value: Value = serde_json::from_str(body).ok()?;
    of_members(&value)
}

/// The members `host` and `port`, the port as number or text.
pub fn of_members(value: &Value) -> Option<Destination> {
    let port = match &value["port"] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    Destination::new(value["host"].as_str()?, &port)
}

/// All that could mean something in a URL (RFC 3986 section 2.3).
fn encode(token: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(token, PLAIN).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        for (body, read, target) in [
            ("host:1", text as Read, Some("host:1")),
            ("10.0.0.7:5901\n", text, Some("10.0.0.7:5901")),
            ("unix_socket:/run/x", text, Some("/run/x")),
            ("host", text, None),
            (r#"{"host": "host", "port": 1}"#, json, Some("host:1")),
            (r#"{"port": "1", "host": "::1"}"#, json, Some("[::1]:1")),
            (r#"{"port": "/run/x", "host": "unix_socket"}"#, json, Some("/run/x")),
            (r#"{"host": "host"}"#, json, None),
            (r#"{"host": "host", "port": -1}"#, json, None),
            (r#"{"host": "host", "port": [1]}"#, json, None),
            ("host:1", json, None),
        ] {
            assert_eq!(read(body).map(|found| found.to_string()).as_deref(), target, "{body}");
        }
    }

    #[test]
    fn a_token_stays_where_it_is_put() {
        assert_eq!(encode("a-b_c.d~e"), "a-b_c.d~e");
        assert_eq!(encode("../x?y=z&%#@"), "..%2Fx%3Fy%3Dz%26%25%23%40");
    }

    #[test]
    fn only_a_url_with_room_for_a_token_is_one() {
        for source in ["http://host/", "host/%s", "ftp://host/%s", "%s"] {
            assert!(Api::new("BaseTokenAPI", source, text).is_err(), "{source}");
        }
        let api = Api::new("BaseTokenAPI", "http://host/100%%/%s?x=1", text).expect("a URL");
        assert_eq!((api.before.as_str(), api.behind.as_str()), ("http://host/100%/", "?x=1"));
        let error =
            Api::new("BaseTokenAPI", "http://me:secret@host/", text).err().expect("no %s").to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
