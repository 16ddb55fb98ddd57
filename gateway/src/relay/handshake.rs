//! The HTTP upgrade (RFC 6455 section 4): reading the request, the ticket in it, the subprotocol.
//!
//! Parsing and the checks of section 4.2.1 are tungstenite's. Nothing is answered here: the target
//! is dialled first.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::machine::TryParse;
use tokio_tungstenite::tungstenite::handshake::server::{Request, create_response_with_body, write_response};
use tokio_tungstenite::tungstenite::http;
use tokio_tungstenite::tungstenite::http::header::{
    AUTHORIZATION, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};

use crate::broker::Refusal;
use crate::broker::session::Size;
use crate::broker::ticket::Token;
use crate::broker::viewer_file::Form;
use crate::broker::web_origin::WebOrigin;

use super::forwarded::Proxies;
use super::sniff::{Kind, sniff};
use super::stream::{ClientStream, TLS_FIRST_BYTE};

/// Longest head of a request, in bytes.
pub const HEAD_MAX: usize = 16 * 1024;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A request's head, and the bytes that came behind it.
#[derive(Debug)]
pub struct Head {
    request: Request,
    /// Sent by a client that did not wait for the answer.
    pub rest: Vec<u8>,
}

/// Deadlines for the head of a request.
#[derive(Clone, Copy, Debug)]
pub struct HeadTimes {
    /// From the connection to the first byte.
    pub first_byte: Duration,
    /// From the first byte to the end of the head.
    pub head: Duration,
}

/// Why there is no head.
#[derive(Debug)]
pub enum NoHead {
    /// The client left, or its connection broke.
    Gone,
    /// The client is to be told.
    Refused(Refusal),
}

impl From<io::Error> for NoHead {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl From<Refusal> for NoHead {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// How a client begins.
#[derive(Debug)]
pub enum Opening {
    /// With a request's head.
    Head(Head),
    /// With something else: these bytes are all that was read of it.
    Native(Kind, Vec<u8>),
    /// With the wish for a tunnel to this name, without its port (RFC 9110 section 9.3.6), and the ticket that was
    /// shown to the proxy.
    Connect(String, Option<Token>),
    /// Not at all: it waits for the console to speak.
    Quiet,
}

/// Reads what tells what a client is; of a request, all of the head, which has at most [`HEAD_MAX`] bytes.
///
/// # Errors
/// [`Refusal::Slow`] past a deadline, [`Refusal::HeadTooLong`], [`Refusal::BadHandshake`] for a request that is
/// not a GET of HTTP/1.1, and for what is of no known kind unless clients may be quiet here, [`Refusal::NoTls`]
/// where it is TLS instead.
pub async fn read_opening(
    stream: &mut ClientStream,
    times: HeadTimes,
    quiet: Option<Duration>,
) -> Result<Opening, NoHead> {
    let mut bytes = Vec::with_capacity(1024);
    // By reading, not by waiting until it can be read: what was just accepted is taken for readable.
    match timeout(quiet.unwrap_or(times.first_byte), stream.read_buf(&mut bytes)).await {
        Ok(Ok(1..)) => {}
        Ok(_) => return Err(NoHead::Gone),
        Err(_) if quiet.is_some() => return Ok(Opening::Quiet),
        Err(_) => return Err(Refusal::Slow.into()),
    }
    timeout(times.head, read_on(stream, bytes, quiet)).await.map_err(|_| Refusal::Slow)?
}

async fn read_on(
    stream: &mut ClientStream,
    mut bytes: Vec<u8>,
    quiet: Option<Duration>,
) -> Result<Opening, NoHead> {
    loop {
        let kind = sniff(&bytes);
        match kind {
            None => {}
            Some(Kind::Tls) => return Err(Refusal::NoTls.into()),
            Some(Kind::Http) => {
                if let Some(head) = Head::parse(&bytes)? {
                    return Ok(Opening::Head(head));
                }
            }
            Some(Kind::Connect) => match connect(&bytes)? {
                Some((name, token)) => return Ok(Opening::Connect(name, token)),
                None if bytes.len() < HEAD_MAX => {}
                None => return Err(Refusal::HeadTooLong.into()),
            },
            Some(Kind::Other) if quiet.is_none() => return Err(Refusal::BadHandshake.into()),
            Some(kind) => return Ok(Opening::Native(kind, bytes)),
        }
        let read = match quiet.filter(|_| kind.is_none()) {
            None => stream.read_buf(&mut bytes).await?,
            Some(quiet) => match timeout(quiet, stream.read_buf(&mut bytes)).await {
                Ok(read) => read?,
                // Who typed a key before the console spoke types no more of what would tell.
                Err(_) => return Ok(Opening::Native(Kind::Other, bytes)),
            },
        };
        if read == 0 {
            return Err(NoHead::Gone);
        }
    }
}

/// The name that a request for a tunnel asks for, and the ticket in it, once all of its head has come. Viewers of
/// SPICE send it in HTTP/1.0, and wait for the answer.
fn connect(bytes: &[u8]) -> Result<Option<(String, Option<Token>)>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(len)) if len == bytes.len() => {}
        Ok(httparse::Status::Partial) => return Ok(None),
        Ok(httparse::Status::Complete(_)) | Err(_) => return Err(Refusal::BadHandshake),
    }
    let authority = request.path.ok_or(Refusal::BadHandshake)?;
    let name = authority.rsplit_once(':').map_or(authority, |(name, _)| name).to_owned();
    let shown = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("Proxy-Authorization"));
    Ok(Some((name, shown.and_then(|header| proxy_ticket(header.value)))))
}

/// The ticket that a viewer shows to its proxy as a password, whatever the user's name (RFC 7617 section 2).
fn proxy_ticket(value: &[u8]) -> Option<Token> {
    let (scheme, credentials) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    let decoded = BASE64_STANDARD.decode(credentials.trim()).ok()?;
    let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    scheme.eq_ignore_ascii_case("Basic").then(|| Token::from_client(password))
}

/// What a client asks for.
#[derive(Debug)]
pub enum Ask {
    /// To become a WebSocket: the answer that says yes, and the ticket.
    Upgrade(Upgrade, Option<Token>),
    /// Whether a ticket would be let in.
    Status(Option<Token>),
    /// A file for a native viewer, with its ticket.
    ViewerFile(Form, Option<Token>),
    /// A page, by its path.
    Page(String),
}

/// A handshake that was found good, not answered yet.
#[derive(Debug)]
pub struct Upgrade(Vec<u8>);

impl Upgrade {
    /// The bytes of the answer 101.
    pub fn answer(&self) -> &[u8] {
        &self.0
    }
}

impl Head {
    /// Reads a head that `bytes` begin with; `None` while it is not whole.
    ///
    /// # Errors
    /// [`Refusal::HeadTooLong`], [`Refusal::BadHandshake`], [`Refusal::NoTls`]; see [`read_opening`].
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, Refusal> {
        match Request::try_parse(bytes) {
            Ok(Some((len, request))) => Ok(Some(Self { request, rest: bytes[len..].to_vec() })),
            Ok(None) if bytes.len() < HEAD_MAX => Ok(None),
            Ok(None) => Err(Refusal::HeadTooLong),
            Err(_) if bytes.first() == Some(&TLS_FIRST_BYTE) => Err(Refusal::NoTls),
            Err(_) => Err(Refusal::BadHandshake),
        }
    }

    /// What the client asks for. A WebSocket handshake is good on any path. `broker_id` names the cookie
    /// that may carry its ticket, and `allowed` whose pages may send it beside the own ones.
    ///
    /// # Errors
    /// [`Refusal::BadHandshake`], [`Refusal::WrongOrigin`].
    pub fn ask(&self, broker_id: Option<&str>, allowed: &[WebOrigin]) -> Result<Ask, Refusal> {
        if self.request.headers().contains_key(UPGRADE) {
            return Ok(Ask::Upgrade(self.upgrade()?, self.token(broker_id, allowed)?));
        }
        match self.request.uri().path() {
            "/status" | "/resize" => Ok(Ask::Status(self.token(broker_id, allowed)?)),
            "/console.vv" => Ok(Ask::ViewerFile(Form::Vv, self.token(broker_id, allowed)?)),
            "/console.rdp" => Ok(Ask::ViewerFile(Form::Rdp, self.token(broker_id, allowed)?)),
            path => Ok(Ask::Page(path.to_owned())),
        }
    }

    /// The size of the window that the client shows a terminal in: `columns` and `rows` in the query.
    pub fn window(&self) -> Option<Size> {
        let query = self.request.uri().query()?;
        let number = |name: &str| {
            let named = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            named?.parse().ok()
        };
        Size::new(number("columns")?, number("rows")?)
    }

    /// The client that a proxy speaks for, by `X-Forwarded-For`.
    pub fn forwarded(&self, proxies: &Proxies) -> Option<IpAddr> {
        proxies.client(self.headers(&X_FORWARDED_FOR))
    }

    fn upgrade(&self) -> Result<Upgrade, Refusal> {
        let response = agree(&self.request)?;
        let mut answer = Vec::with_capacity(160);
        write_response(&mut answer, &response).map_err(|_| Refusal::BadHandshake)?;
        Ok(Upgrade(answer))
    }

    /// The ticket: a subprotocol `ticket.<token>`, a bearer token (RFC 6750 section 2.1), `token` in the
    /// query, or a cookie. A browser sends cookies by itself, so that one needs an Origin that may.
    fn token(&self, broker_id: Option<&str>, allowed: &[WebOrigin]) -> Result<Option<Token>, Refusal> {
        let from_subprotocol = self.subprotocols().find_map(|name| name.strip_prefix("ticket."));
        let from_header = || {
            let mut bearers = self.headers(&AUTHORIZATION).filter_map(|value| value.split_once(' '));
            bearers.find(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim())
        };
        let from_query = || {
            let query = self.request.uri().query()?;
            query.split('&').find_map(|pair| pair.strip_prefix("token="))
        };
        let shown =
            from_subprotocol.or_else(from_header).or_else(from_query).filter(|token| !token.is_empty());
        if shown.is_some() {
            return Ok(shown.map(Token::from_client));
        }
        match self.cookie(broker_id) {
            Some(_) if !self.has_good_origin(allowed) => Err(Refusal::WrongOrigin),
            cookie => Ok(cookie.map(Token::from_client)),
        }
    }

    /// `portcullis_<broker_id>`, or plain `token` as old clients send it (RFC 6265 section 4.2).
    fn cookie(&self, broker_id: Option<&str>) -> Option<&str> {
        let own = broker_id.map(|id| format!("portcullis_{id}"));
        let pairs = || {
            self.headers(&COOKIE)
                .flat_map(|list| list.split(';'))
                .filter_map(|pair| pair.trim().split_once('='))
        };
        let named = |wanted: &str| pairs().find(|(name, value)| *name == wanted && !value.is_empty());
        let found = own.as_deref().and_then(named).or_else(|| named("token"));
        found.map(|(_, value)| value)
    }

    /// Whether the request comes from a page of the same host and port, from one of `allowed`, or from no
    /// page at all.
    fn has_good_origin(&self, allowed: &[WebOrigin]) -> bool {
        let host = self.headers(&HOST).next().unwrap_or_default();
        self.request.headers().get_all(ORIGIN).into_iter().all(|origin| {
            let origin = origin.to_str().ok().and_then(|text| text.parse::<WebOrigin>().ok());
            origin.is_some_and(|origin| origin.is_at(host) || allowed.contains(&origin))
        })
    }

    fn subprotocols(&self) -> impl Iterator<Item = &str> {
        subprotocols(self.request.headers())
    }

    fn headers<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a str> {
        texts(self.request.headers(), name)
    }
}

/// The answer 101 to a handshake that is good (RFC 6455 section 4.2.2).
///
/// # Errors
/// [`Refusal::BadHandshake`].
pub fn agree<T>(request: &http::Request<T>) -> Result<http::Response<()>, Refusal> {
    let agreed = create_response_with_body(request, || ());
    let mut response = agreed.map_err(|_| Refusal::BadHandshake)?;
    // websockify and nova are strict here and lose clients over it: `binary` is answered where it
    // is offered in whatever list, and where it is not the header is left out.
    if subprotocols(request.headers()).any(|name| name == "binary") {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("binary"));
    }
    Ok(response)
}

fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    texts(headers, &SEC_WEBSOCKET_PROTOCOL).flat_map(|list| list.split(',')).map(str::trim)
}

fn texts<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPGRADE_HEADERS: &str = "Host: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    fn head(request: &str) -> Head {
        let (len, parsed) = Request::try_parse(request.as_bytes()).expect("HTTP").expect("a whole head");
        Head { request: parsed, rest: request.as_bytes()[len..].to_vec() }
    }

    fn upgrade(path: &str, more: &str) -> (String, Option<Token>) {
        match head(&format!("GET {path} HTTP/1.1\r\n{UPGRADE_HEADERS}{more}\r\n")).ask(Some("b-1"), &[]) {
            Ok(Ask::Upgrade(upgrade, token)) => {
                (String::from_utf8_lossy(upgrade.answer()).to_ascii_lowercase(), token)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_answer_is_that_of_the_rfc() {
        let (answer, token) = upgrade("/any/path", "");
        assert!(answer.starts_with("http/1.1 101 switching protocols\r\n"), "{answer}");
        assert!(answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{answer}");
        assert!(!answer.contains("sec-websocket-protocol"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        assert_eq!(token, None);
    }

    #[test]
    fn a_ticket_comes_in_four_ways() {
        for (path, more) in [
            ("/?a=b&token=t1", ""),
            ("/", "Authorization: bearer t1\r\n"),
            ("/", "Sec-WebSocket-Protocol: ticket.t1, binary\r\n"),
            ("/", "Sec-WebSocket-Protocol: binary\r\nSec-WebSocket-Protocol: ticket.t1\r\n"),
            ("/", "Cookie: a=b; portcullis_b-1=t1\r\nOrigin: http://x\r\n"),
            ("/", "Cookie: token=t1\r\n"),
            ("/?token=t1", "Cookie: token=t2\r\nOrigin: http://evil\r\n"),
        ] {
            assert_eq!(upgrade(path, more).1, Some(Token::from_client("t1")), "{path} {more}");
        }
        for (path, more) in [("/?token=", ""), ("/", "Authorization: Basic t1\r\n"), ("/?xtoken=t1", "")] {
            assert_eq!(upgrade(path, more).1, None, "{path} {more}");
        }
    }

    #[test]
    fn a_cookie_counts_on_the_own_page_only() {
        for origin in ["http://y", "http://x.evil", "null", "http://x:1", "", "x", "\u{e4}"] {
            let request =
                format!("GET / HTTP/1.1\r\n{UPGRADE_HEADERS}Cookie: token=t1\r\nOrigin: {origin}\r\n\r\n");
            assert_eq!(head(&request).ask(None, &[]).err(), Some(Refusal::WrongOrigin), "{origin}");
        }
        for origin in ["http://x", "https://x", "http://X:80"] {
            assert!(
                upgrade("/", &format!("Cookie: token=t1\r\nOrigin: {origin}\r\n")).1.is_some(),
                "{origin}"
            );
        }
        // Another broker's cookie is not looked at.
        assert_eq!(upgrade("/", "Cookie: portcullis_b-2=t1\r\nOrigin: http://x\r\n").1, None);
    }

    #[test]
    fn a_cookie_may_come_from_pages_that_are_named() {
        let allowed = ["https://cloud.example", "http://y:8080"].map(|text| text.parse().expect("an origin"));
        for (origin, good) in [
            ("Origin: https://cloud.example\r\n", true),
            ("Origin: https://CLOUD.example:443\r\n", true),
            ("Origin: http://y:8080\r\n", true),
            ("Origin: http://x\r\n", true),
            ("", true),
            ("Origin: http://cloud.example\r\n", false),
            ("Origin: https://cloud.example:8443\r\n", false),
            ("Origin: https://cloud.example.evil\r\n", false),
            ("Origin: http://y\r\n", false),
            ("Origin: null\r\n", false),
            ("Origin: https://cloud.example\r\nOrigin: http://evil\r\n", false),
        ] {
            for cookie in ["token", "portcullis_b-1"] {
                let request =
                    format!("GET / HTTP/1.1\r\n{UPGRADE_HEADERS}Cookie: {cookie}=t1\r\n{origin}\r\n");
                let refused = head(&request).ask(Some("b-1"), &allowed).err();
                assert_eq!(refused, (!good).then_some(Refusal::WrongOrigin), "{cookie} {origin}");
            }
        }
    }

    #[test]
    fn subprotocols_are_taken_liberally() {
        for (offer, answered) in
            [("binary", true), ("base64, binary", true), ("base64,binary", true), ("chat", false)]
        {
            let (answer, _) = upgrade("/", &format!("Sec-WebSocket-Protocol: {offer}\r\n"));
            assert_eq!(answer.contains("sec-websocket-protocol: binary\r\n"), answered, "{offer}");
        }
        let (answer, _) = upgrade("/", "Sec-WebSocket-Protocol: binary, ticket.secret\r\n");
        assert!(!answer.contains("secret"), "{answer}");
    }

    #[test]
    fn bad_handshakes_are_refused() {
        for headers in [
            "Upgrade: websocket\r\n",
            "Upgrade: h2c\r\nConnection: Upgrade\r\n",
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n",
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 12\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        ] {
            let refusal = head(&format!("GET / HTTP/1.1\r\nHost: x\r\n{headers}\r\n")).ask(None, &[]).err();
            assert_eq!(refusal, Some(Refusal::BadHandshake), "{headers}");
        }
    }

    #[test]
    fn a_tunnel_is_asked_for_by_name() {
        let head = "CONNECT b-1.ab.portcullis.invalid:13452 HTTP/1.0\r\nHost: b-1.ab.portcullis.invalid:13452\r\n\
            Proxy-Connection: keep-alive\r\nUser-Agent: GLib/2.74\r\n\r\n";
        for len in 8..head.len() {
            assert_eq!(connect(&head.as_bytes()[..len]), Ok(None), "{len}");
        }
        let asks =
            |name: &str, ticket: Option<&str>| Ok(Some((name.to_owned(), ticket.map(Token::from_client))));
        assert_eq!(connect(head.as_bytes()), asks("b-1.ab.portcullis.invalid", None));
        // "ticket:5a5a", and what is no ticket.
        for (shown, ticket) in [
            ("Basic dGlja2V0OjVhNWE=", Some("5a5a")),
            ("basic dGlja2V0OjVhNWE=", Some("5a5a")),
            ("Basic dGlja2V0", None),
            ("Basic ?", None),
            ("Bearer dGlja2V0OjVhNWE=", None),
            ("", None),
        ] {
            let head = format!("CONNECT name HTTP/1.1\r\nProxy-Authorization: {shown}\r\n\r\n");
            assert_eq!(connect(head.as_bytes()), asks("name", ticket), "{shown}");
        }
        for bad in ["CONNECT  HTTP/1.1\r\n\r\n", "CONNECT x:1\r\n\r\n", "CONNECT x:1 HTTP/1.1\r\n\r\nmore"] {
            assert_eq!(connect(bad.as_bytes()), Err(Refusal::BadHandshake), "{bad}");
        }
    }

    #[test]
    fn a_window_has_both_of_its_sides() {
        let window = |query: &str| head(&format!("GET /?{query} HTTP/1.1\r\nHost: x\r\n\r\n")).window();
        assert_eq!(window("a=b&rows=25&columns=80"), Size::new(80, 25));
        for query in [
            "",
            "columns=80",
            "columns=80&rows=",
            "columns=80&rows=0",
            "columns=80&rows=99999",
            "columns=80&rowsx=2",
        ] {
            assert_eq!(window(query), None, "{query}");
        }
    }

    #[test]
    fn early_bytes_are_kept() {
        assert_eq!(head(&format!("GET / HTTP/1.1\r\n{UPGRADE_HEADERS}\r\nearly")).rest, b"early");
    }
}
