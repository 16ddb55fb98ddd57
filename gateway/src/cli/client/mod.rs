//! The API's client.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use rustls::pki_types::CertificateDer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::DefaultResolver;

use crate::config::{UNIX, default_state_dir};
use crate::control::api::wire::{PageOf, PageQuery};
use crate::tls;

use unix::UnixConnector;

mod unix;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// Something is not there or broken.
    Failed(anyhow::Error),
    /// What was asked for cannot be meant.
    Usage(String),
    /// The service said no.
    Refused(String),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// Where the daemon is.
#[derive(Args)]
pub struct Connection {
    /// The daemon's API: http or https, or unix:/path of its socket.
    #[arg(long, global = true, env = "PORTCULLIS_URL", default_value = "http://127.0.0.1:8700")]
    url: String,
    /// File with the API key; by default api.key in the daemon's state folder.
    #[arg(long, global = true, env = "PORTCULLIS_KEY_FILE")]
    key_file: Option<PathBuf>,
    /// PEM file with the authorities to trust where https or wss is spoken; by default those of the system.
    #[arg(long, global = true, env = "PORTCULLIS_CA_FILE")]
    pub ca_file: Option<PathBuf>,
}

impl Connection {
    /// Its API, with the key; of https, one whose certificate is vouched for in `ca_file`, or else by whom
    /// the system trusts.
    pub fn client(&self) -> Result<Client, Failure> {
        let by_default = || default_state_dir().map(|folder| folder.join("api.key"));
        let path = self.key_file.clone().or_else(by_default);
        let path = path.ok_or_else(|| anyhow!("name the file with the API key: --key-file"))?;
        let key = std::fs::read_to_string(&path).with_context(|| {
            format!("read the API key from {} (--key-file names another)", path.display())
        })?;
        let (url, agent) = self.agent()?;
        Ok(Client { named: self.url.clone(), url, key: key.trim().to_owned(), agent })
    }

    /// What URLs begin with, and who asks.
    fn agent(&self) -> Result<(String, ureq::Agent), Failure> {
        // Statuses are read here, and proxies of the environment are not for a daemon on this machine.
        let agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
        if let Some(path) = self.url.strip_prefix(UNIX) {
            let connector = UnixConnector(path.into());
            // The URL has to have a host; this one needs no look-up, and nobody connects to it.
            let url = "http://127.0.0.1".to_owned();
            return Ok((url, ureq::Agent::with_parts(agent.build(), connector, DefaultResolver::default())));
        }
        let agent = agent.tls_config(trust(&self.url, self.ca_file.as_deref())?).build().into();
        Ok((self.url.trim_end_matches('/').to_owned(), agent))
    }
}

/// A daemon's API.
pub struct Client {
    /// As it was named.
    named: String,
    /// What its URLs begin with.
    url: String,
    key: String,
    agent: ureq::Agent,
}

impl Client {
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let request = self.agent.get(format!("{}{path}", self.url));
        self.read(request.header("Authorization", self.bearer()).call())
    }

    pub fn get_text(&self, path: &str) -> Result<String, Failure> {
        let request = self.agent.get(format!("{}{path}", self.url));
        let mut answer = self.answer(request.header("Authorization", self.bearer()).call())?;
        Ok(answer.body_mut().read_to_string().context("the answer is no text")?)
    }

    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let request = self.agent.post(format!("{}{path}", self.url));
        let request = request.header("Authorization", self.bearer()).content_type("application/json");
        // `send_json` writes it for people, which takes an import far beyond the longest body.
        let body = serde_json::to_vec(body).map_err(anyhow::Error::from)?;
        self.read(request.send(&body[..]))
    }

    pub fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let request = self.agent.put(format!("{}{path}", self.url));
        self.read(request.header("Authorization", self.bearer()).send_json(body))
    }

    pub fn delete(&self, path: &str) -> Result<(), Failure> {
        let request = self.agent.delete(format!("{}{path}", self.url));
        self.answer(request.header("Authorization", self.bearer()).call()).map(drop)
    }

    /// All items of a list, page by page.
    pub fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Failure> {
        self.list_of(path, None)
    }

    /// The same, of the items that `filter` (`name=value`) asks for.
    pub fn list_of<T: DeserializeOwned>(&self, path: &str, filter: Option<&str>) -> Result<Vec<T>, Failure> {
        let filter = filter.map(|filter| format!("&{filter}")).unwrap_or_default();
        let mut items = Vec::new();
        let mut query = PageQuery { limit: Some(1000), after: None };
        loop {
            let after = query.after.as_deref().map(|id| format!("&after={}", encode(id))).unwrap_or_default();
            let page: PageOf<T> = self.get(&format!("{path}?limit=1000{filter}{after}"))?;
            items.extend(page.items);
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(items),
            }
        }
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.key)
    }

    fn read<T: DeserializeOwned>(
        &self,
        result: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<T, Failure> {
        let mut response = self.answer(result)?;
        Ok(response.body_mut().read_json().context("the answer is not what this program knows")?)
    }

    /// The answer, if it says yes.
    fn answer(
        &self,
        result: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<ureq::http::Response<ureq::Body>, Failure> {
        let mut response = result.with_context(|| {
            format!("ask the daemon at {} (--url names another, --ca-file who vouches for it)", self.named)
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let problem: Value = response.body_mut().read_json().unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or("no reason given");
        let advice = if status == 401 { ", --key-file names another" } else { "" };
        Err(Failure::Refused(format!("{detail} ({status}{advice})")))
    }
}

/// Whom to trust. Reading all that the system trusts takes a while, so only https asks for it.
fn trust(url: &str, ca_file: Option<&Path>) -> Result<TlsConfig, Failure> {
    let https = url.to_ascii_lowercase().starts_with("https:");
    let trusted = if https || ca_file.is_some() { trusted(ca_file)? } else { Vec::new() };
    let roots = trusted.iter().map(|der| Certificate::from_der(der).to_owned());
    let tls = TlsConfig::builder().unversioned_rustls_crypto_provider(tls::provider());
    Ok(tls.root_certs(RootCerts::from(roots)).build())
}

/// The authorities in `ca_file`, or else those of the system.
pub fn trusted(ca_file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, Failure> {
    match ca_file {
        Some(path) => Ok(tls::certificates(path).context("--ca-file")?),
        None => Ok(rustls_native_certs::load_native_certs().certs),
    }
}

/// An id as a segment of a path or a value of a query (RFC 3986 section 2.3).
pub fn encode(id: &str) -> String {
    id.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_one_segment() {
        assert_eq!(encode("i-8snyruit"), "i-8snyruit");
        assert_eq!(encode("a/b?c ä"), "a%2Fb%3Fc%20%C3%A4");
    }
}
