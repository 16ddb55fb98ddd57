//! HTTP answers: who is not let in is told why, by status, code and a sentence.

use std::io;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::auth::Denied;
use crate::web::NO_STORE;

/// What is written behind a head.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not what RFC 6455 asks for.
    #[error("this is no WebSocket handshake")]
    BadHandshake,
    /// Neither a WebSocket nor a file.
    #[error("only WebSocket is spoken here")]
    NotHere,
    /// Neither GET nor HEAD.
    #[error("only GET and HEAD are understood")]
    NoSuchMethod,
    /// There is none in the request.
    #[error("no token was shown")]
    NoToken,
    /// It leads nowhere.
    #[error("the token leads nowhere")]
    WrongToken,
    /// Whoever knows where it leads cannot be asked.
    #[error("where the token leads cannot be asked now")]
    LookupFailed,
    /// Name and password are asked for.
    #[error("name and password are needed")]
    Password,
    /// Not for this page.
    #[error("this page may not connect here")]
    WrongOrigin,
    /// Not for this client.
    #[error("this client may not connect here")]
    Forbidden,
    /// The target is not there, or refuses.
    #[error("the target refused the connection")]
    TargetRefused,
    /// It has no TLS, or not the certificate that it should have.
    #[error("the target is not who it should be, or speaks no TLS")]
    TargetTls,
    /// It does not answer.
    #[error("the target did not answer")]
    TargetTimeout,
    /// What has to be recorded cannot be.
    #[error("the session cannot be recorded")]
    NotRecorded,
    /// The one session that may be is there.
    #[error("another session has begun, and there is only one")]
    Taken,
    /// No descriptor is left.
    #[error("there is no room for more sessions")]
    Full,
    /// It stops.
    #[error("the gateway is stopping")]
    Stopping,
}

impl Refusal {
    /// Status and code.
    pub const fn answer(self) -> (u16, &'static str) {
        match self {
            Self::BadHandshake => (400, "bad_handshake"),
            Self::NoToken => (401, "no_token"),
            Self::Password => (401, "password"),
            Self::WrongToken => (403, "wrong_token"),
            Self::WrongOrigin => (403, "wrong_origin"),
            Self::Forbidden => (403, "forbidden"),
            Self::NotHere => (405, "not_here"),
            Self::NoSuchMethod => (501, "no_such_method"),
            Self::TargetRefused => (502, "target_refused"),
            Self::TargetTls => (502, "target_tls"),
            Self::LookupFailed => (503, "lookup_failed"),
            Self::NotRecorded => (503, "not_recorded"),
            Self::Taken => (503, "taken"),
            Self::Full => (503, "full"),
            Self::Stopping => (503, "stopping"),
            Self::TargetTimeout => (504, "target_timeout"),
        }
    }

    /// The whole answer. The connection ends behind it.
    pub fn response(self) -> Response<Body> {
        let (status, code) = self.answer();
        let text = json!({ "code": code, "message": self.to_string() }).to_string();
        let mut response = full(text.into());
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(NO_STORE));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        match self {
            Self::Password => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"Websockify\""));
            }
            Self::NotHere => drop(headers.insert(ALLOW, HeaderValue::from_static(""))),
            _ => {}
        }
        response
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Password => Self::Password,
            Denied::Origin => Self::WrongOrigin,
            Denied::Forbidden => Self::Forbidden,
        }
    }
}

/// 200 with this body.
pub fn full(body: Bytes) -> Response<Body> {
    Response::new(Full::new(body).map_err(|never| match never {}).boxed_unsync())
}
