//! Errors on the wire: problem documents (RFC 9457) with a stable `code` for programs.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::response::{IntoResponse, Response};

use crate::broker::allocator::NoFreePort;
use crate::control::inventory::InventoryError;
use crate::control::lifecycle::OpenError;
use crate::control::store::StoreError;

/// A problem document.
#[derive(Debug)]
pub struct Problem {
    status: u16,
    code: &'static str,
    detail: String,
    retry_after_s: Option<u64>,
}

impl Problem {
    /// A problem with its HTTP status, stable code, and what to know about this one.
    pub fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), retry_after_s: None }
    }

    /// What to know about this one.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// More than is taken in one call.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(413, "too_large", detail)
    }

    /// No broker has this id.
    pub fn no_broker(id: &str) -> Self {
        Self::new(404, "no_broker", format!("there is no broker {id:?}"))
    }

    /// No session has this id, or it has no connection any more.
    pub fn no_session(id: &str) -> Self {
        Self::new(404, "no_session", format!("there is no session {id:?}"))
    }

    /// No instance has this id.
    pub fn no_instance(id: &str) -> Self {
        Self::new(404, "no_instance", format!("there is no instance {id:?}"))
    }

    /// A path that is no call.
    pub fn no_such_call() -> Self {
        Self::new(404, "no_such_call", "there is no such call")
    }

    /// A call that has no such method.
    pub fn method_not_allowed() -> Self {
        Self::new(405, "method_not_allowed", "this call has no such method")
    }

    /// A value that cannot be meant.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, "bad_request", detail)
    }
}

/// What a problem document is, for `Content-Type`.
pub const CONTENT_TYPE_PROBLEM: &str = "application/problem+json";

impl Problem {
    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What is sent.
    pub fn document(&self) -> serde_json::Value {
        let status = self.status();
        serde_json::json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or(""),
            "status": status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        })
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(self.document())).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE_PROBLEM));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::too_large(rejection.body_text()),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::new(415, "not_json", rejection.body_text()),
            _ => Self::bad_request(rejection.body_text()),
        }
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "API call failed");
        Self::new(503, "store_unavailable", error.to_string())
    }
}

impl From<InventoryError> for Problem {
    fn from(error: InventoryError) -> Self {
        match error {
            InventoryError::Unknown(id) => Self::no_instance(&id),
            InventoryError::Store(error) => error.into(),
            InventoryError::Stopping => Self::new(503, "stopping", error.to_string()),
            InventoryError::Row { .. } => Self::new(409, "bad_instance", error.to_string()),
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
                Self { retry_after_s: Some(wait), ..Self::new(503, "no_free_port", "no broker port is free") }
            }
            OpenError::Changed => Self::new(409, "instance_changed", error.to_string()),
            OpenError::Stopping => Self::new(503, "stopping", error.to_string()),
            OpenError::Listen { .. } | OpenError::Filter(_) | OpenError::Random(_) => {
                tracing::error!(%error, "broker not opened");
                Self::new(500, "not_opened", error.to_string())
            }
        }
    }
}
