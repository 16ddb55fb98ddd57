//! HTTP answers other than 101: refusals, the status of a console, pages.

use std::borrow::Cow;
use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::broker::{Broker, LastRefusal, Refusal};
use crate::web::{NO_STORE, POLICY, Page};

use super::console::rdp::clean_path::Failure;
use super::console::rdp::x224;
use super::console::spice::link::{self, Reply};
use super::sniff::Kind;
use super::ws::frame::message;
use super::ws::{Close, CloseCode, Opcode};

/// A whole answer, ready to be written. The connection ends behind it.
pub struct Answer {
    head: String,
    body: Cow<'static, [u8]>,
}

/// On every answer: what design and good sense ask of pages, and no harm to the others.
const HEADERS: &str = "Referrer-Policy: no-referrer\r\n\
X-Content-Type-Options: nosniff\r\n\
Connection: close\r\n";

/// On pages that came by TLS: on others browsers ignore it, and complain (HTML Standard section 7.1.3).
const OWN_GROUP: &str = "Cross-Origin-Opener-Policy: same-origin\r\n";

/// A fatal alert `handshake_failure` (RFC 8446 sections 5.1 and 6), which every TLS client understands.
static TLS_ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

impl Answer {
    /// Status, `Content-Type`, `Cache-Control`, and what is said.
    pub fn new(status: u16, content_type: &str, cache: &str, body: Cow<'static, [u8]>) -> Self {
        Self::with(status, content_type, cache, body, (POLICY, ""))
    }

    fn with(
        status: u16,
        content_type: &str,
        cache: &str,
        body: Cow<'static, [u8]>,
        (policy, more): (&str, &str),
    ) -> Self {
        let reason = reason(status);
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
             Cache-Control: {cache}\r\nContent-Security-Policy: {policy}\r\n{HEADERS}{more}\r\n"
        );
        Self { head, body }
    }

    /// Status, and `{code, message}`; to a client that speaks TLS, an alert.
    pub fn refusal(refusal: Refusal) -> Self {
        if refusal == Refusal::NoTls {
            return Self { head: String::new(), body: TLS_ALERT.as_slice().into() };
        }
        let (status, code) = refusal.answer();
        Self::json(status, &serde_json::json!({ "code": code, "message": refusal.to_string() }))
    }

    /// The same to a native client, in what it speaks: a reason where there is room for one.
    pub fn refusal_to(kind: Kind, refusal: Refusal) -> Self {
        let body = match kind {
            Kind::Tls | Kind::Http | Kind::Connect | Kind::Other => return Self::refusal(refusal),
            Kind::Spice => spice_refusal(refusal),
            Kind::CleanPath => farewell_to_browser(Failure::Http(refusal.answer().0), refusal),
            Kind::Rdp => x224::GOODBYE.to_vec(),
            Kind::Rfb => rfb_refusal(refusal),
        };
        Self { head: String::new(), body: body.into() }
    }

    /// These bytes, and nothing else.
    pub fn bare(bytes: Vec<u8>) -> Self {
        Self { head: String::new(), body: bytes.into() }
    }

    /// The same with `Retry-After` (RFC 9110 section 10.2.3), in whole seconds that are enough. What is told to a
    /// native client has no head, and no room for it.
    pub fn again_after(mut self, wait: Duration) -> Self {
        let seconds = enough_seconds(wait);
        // Before the empty line that ends the head.
        if let Some(end) = self.head.len().checked_sub(2) {
            self.head.insert_str(end, &format!("Retry-After: {seconds}\r\n"));
        }
        self
    }

    /// What a page asks before it connects: the ticket is good; for how many seconds a session waits for
    /// its client to come back; and why the last try failed, if it did.
    pub fn status(broker: &Broker) -> Self {
        let last = broker.last_refusal().map(|last| told(last, Instant::now()));
        let body = serde_json::json!({
            "instance_id": broker.instance_id,
            "graphics_protocol": broker.protocol,
            "state": "open",
            "reconnect_s": broker.admission.window.as_secs(),
            "view_only": broker.admission.view_only,
            "last_refusal": last,
        });
        Self::json(200, &body)
    }

    /// A page or one of its parts, to a client that speaks TLS or does not.
    pub fn page(page: Page, policy: &str, by_tls: bool) -> Self {
        let more = if by_tls { OWN_GROUP } else { "" };
        Self::with(200, &page.content_type, page.cache, page.body, (policy, more))
    }

    fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::new(status, "application/json", NO_STORE, body.to_string().into_bytes().into())
    }

    /// Writes the answer and lets the client read it: closing with unread bytes would reset the
    /// connection, and the answer with it. Bounded in bytes, and in time without progress.
    pub async fn send(self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
        // A client that does not want its answer is no concern of ours.
        let _ = self.deliver(stream).await;
    }

    async fn deliver(self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
        let mut head = self.head.into_bytes();
        if self.body.len() <= ONE_WRITE {
            // A client that stops reading behind the head still has a short body.
            head.extend_from_slice(&self.body);
            write(stream, &head).await?;
        } else {
            write(stream, &head).await?;
            write(stream, &self.body).await?;
        }
        timeout(STUCK, stream.shutdown()).await??;
        let drain = async {
            let mut rest = [0; 1024];
            for _ in 0..256 {
                if stream.read(&mut rest).await? == 0 {
                    break;
                }
            }
            io::Result::Ok(())
        };
        timeout(LINGER, drain).await?
    }
}

/// The end of a WebSocket that was to carry RDP: why there is none, and a close frame.
pub fn farewell_to_browser(failure: Failure, why: Refusal) -> Vec<u8> {
    let code = match why.answer().0 {
        _ if why == Refusal::Stopping => CloseCode::GOING_AWAY,
        401 | 403 | 404 | 410 => CloseCode::POLICY,
        429 | 503 => CloseCode::AGAIN_LATER,
        502 | 504 => CloseCode::INTERNAL,
        _ => CloseCode::PROTOCOL,
    };
    let close = Close::new(code, why.to_string());
    [message(Opcode::Binary, &failure.encode()), message(Opcode::Close, close.payload().as_ref())].concat()
}

/// A link that is none. SPICE has no words for reasons.
fn spice_refusal(refusal: Refusal) -> Vec<u8> {
    let error = match refusal.answer().0 {
        400..500 => link::PERMISSION_DENIED,
        _ => link::ERROR,
    };
    Reply::error(error).encode()
}

/// RFB 3.3, in which the server decides on the security type, and 0 is none: a reason follows. It needs no
/// answer to its version first (RFC 6143 section 7.1.2 and appendix A).
fn rfb_refusal(refusal: Refusal) -> Vec<u8> {
    let reason = refusal.to_string();
    let mut said = b"RFB 003.003\n\0\0\0\0".to_vec();
    said.extend((reason.len() as u32).to_be_bytes());
    said.extend(reason.as_bytes());
    said
}

/// `{code, message, retry_after_s}`, where the last is null when a try may help already.
fn told(LastRefusal { why, not_before }: LastRefusal, now: Instant) -> serde_json::Value {
    let wait = not_before.and_then(|until| until.checked_duration_since(now)).filter(|wait| !wait.is_zero());
    serde_json::json!({
        "code": why.answer().1,
        "message": why.to_string(),
        "retry_after_s": wait.map(enough_seconds),
    })
}

/// Whole seconds, none too few.
fn enough_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// Bodies up to this go with their head.
const ONE_WRITE: usize = 4096;
/// Longest time without progress while an answer is written.
const STUCK: Duration = Duration::from_secs(10);
/// Time that a client has to leave in once it has its answer.
const LINGER: Duration = Duration::from_secs(1);

async fn write(stream: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = timeout(STUCK, stream.write(bytes)).await??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        // A stream of TLS takes more than the connection below it has taken.
        timeout(STUCK, stream.flush()).await??;
        bytes = &bytes[written..];
    }
    Ok(())
}

fn reason(status: u16) -> &'static str {
    use tokio_tungstenite::tungstenite::http::StatusCode;
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_to_come_again_is_said_where_there_is_room() {
        let told =
            |kind| Answer::refusal_to(kind, Refusal::TargetPassword).again_after(Duration::from_millis(1500));
        assert!(told(Kind::Http).head.ends_with("\r\nRetry-After: 2\r\n\r\n"));
        for kind in [Kind::Rfb, Kind::Spice, Kind::Rdp] {
            assert_eq!(told(kind).head, "", "{kind:?}");
        }
    }
}
