//! Errors on the wire: problem documents (RFC 9457) with a stable `code` for programs.

use std::error::Error;

use axum::Json;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::response::{IntoResponse, Response};

use serde::Serialize;
use utoipa::ToSchema;

use crate::broker::allocator::NoFreePort;
use crate::control::inventory::InventoryError;
use crate::control::lifecycle::OpenError;
use crate::control::store::StoreError;
use crate::descriptors;

use super::code::Code;
use crate::broker::Refusal;

/// Why a call was refused.
#[derive(Debug)]
pub struct Problem {
    code: Code,
    detail: String,
    retry_after_s: Option<u64>,
}

/// A problem document (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// Always `about:blank`: `code` tells problems apart.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// For programs; stable.
    code: &'static str,
    /// For people: what to know about this one.
    detail: String,
}

impl Problem {
    /// A problem, and what to know about this one.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), retry_after_s: None }
    }

    /// Its code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// What to know about this one.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// An answer with the problem's status and headers, and `body`.
    pub fn answer(&self, body: impl Serialize) -> Response {
        let mut response = (self.status(), Json(body)).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// More than is taken in one call.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(Code::TooLarge, detail)
    }

    /// No broker has this id.
    pub fn no_broker(id: &str) -> Self {
        Self::new(Code::NoBroker, format!("there is no broker {id:?}"))
    }

    /// No session has this id, or it has no connection any more.
    pub fn no_session(id: &str) -> Self {
        Self::new(Code::NoSession, format!("there is no session {id:?}"))
    }

    /// No instance has this id.
    pub fn no_instance(id: &str) -> Self {
        Self::new(Code::NoInstance, format!("there is no instance {id:?}"))
    }

    /// The console was asked, and this came of it.
    pub fn no_console(why: Refusal) -> Self {
        match why {
            Refusal::Unavailable => Self::new(Code::StoreUnavailable, why.to_string()),
            Refusal::Full => Self::new(Code::Full, why.to_string()),
            why => Self::new(Code::NoConsole, why.to_string()),
        }
    }

    /// A path that is no call.
    pub fn no_such_call() -> Self {
        Self::new(Code::NoSuchCall, "there is no such call")
    }

    /// A call that has no such method.
    pub fn method_not_allowed() -> Self {
        Self::new(Code::MethodNotAllowed, "this call has no such method")
    }

    /// A value that cannot be meant.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, detail)
    }
}

/// What a problem document is, for `Content-Type`.
pub const CONTENT_TYPE_PROBLEM: &str = "application/problem+json";

impl Problem {
    /// What is sent.
    pub fn document(&self) -> ProblemDocument {
        let status = self.status();
        ProblemDocument {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            code: self.code.name(),
            detail: self.detail.clone(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.answer(self.document());
        let kind = HeaderValue::from_static(CONTENT_TYPE_PROBLEM);
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}

/// What is said of a request that did not come in time.
pub const SLOW: &str = "the request did not come in time";

/// Why the rest of a body is missing: it did not come in time.
#[derive(Debug, thiserror::Error)]
#[error("{SLOW}")]
pub struct SlowBody;

/// Whether a body could not be read because of [`SlowBody`].
fn is_slow(rejection: &(dyn Error + 'static)) -> bool {
    rejection.is::<SlowBody>() || rejection.source().is_some_and(is_slow)
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        match rejection.status() {
            _ if is_slow(&rejection) => Self::new(Code::Slow, SLOW),
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(Code::TooLarge, rejection.body_text()),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::new(Code::NotJson, rejection.body_text()),
            _ => Self::bad_request(rejection.body_text()),
        }
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        match rejection.status() {
            _ if is_slow(&rejection) => Self::new(Code::Slow, SLOW),
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(Code::TooLarge, rejection.body_text()),
            _ => Self::bad_request(rejection.body_text()),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "API call failed");
        Self::new(Code::StoreUnavailable, error.to_string())
    }
}

impl From<InventoryError> for Problem {
    fn from(error: InventoryError) -> Self {
        match error {
            InventoryError::Unknown(id) => Self::no_instance(&id),
            InventoryError::Store(error) => error.into(),
            InventoryError::Stopping => Self::new(Code::Stopping, error.to_string()),
            InventoryError::Row { .. } => Self::new(Code::BadInstance, error.to_string()),
        }
    }
}

impl From<OpenError> for Problem {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Inventory(error) => error.into(),
            OpenError::Store(error) => error.into(),
            OpenError::NoFreePort(NoFreePort { retry_after }) => {
                let wait = retry_after.map_or(10, |wait| wait.as_secs() + 1);
                Self { retry_after_s: Some(wait), ..Self::new(Code::NoFreePort, "no broker port is free") }
            }
            OpenError::NotForViewing { .. } => Self::bad_request(error.to_string()),
            OpenError::Changed => Self::new(Code::InstanceChanged, error.to_string()),
            OpenError::Stopping => Self::new(Code::Stopping, error.to_string()),
            OpenError::Listen { cause, .. } if descriptors::is_want(&cause) => {
                Self::new(Code::Full, "the gateway has no descriptor left for a broker")
            }
            OpenError::Listen { .. } | OpenError::Filter(_) | OpenError::Random(_) => {
                tracing::error!(%error, "broker not opened");
                Self::new(Code::NotOpened, error.to_string())
            }
        }
    }
}
