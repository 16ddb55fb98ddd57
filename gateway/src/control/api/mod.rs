//! The HTTP API: routes, the key, and what the answers look like. Wire types are in `wire` and go no
//! further than the handlers.

mod brokers;
mod events;
mod instances;
pub mod problem;
mod sessions;
pub mod wire;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderValue};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::access::Key;
use super::events::Events;
use super::lifecycle::Lifecycle;
use super::store::Store;
use problem::Problem;
use wire::IMPORT_BODY_MAX;

/// What the handlers work with.
#[derive(Clone)]
pub struct Api {
    /// Brokers.
    pub lifecycle: Arc<Lifecycle>,
    /// Instances.
    pub store: Store,
    /// What happens.
    pub events: Events,
    /// Name that clients are given.
    pub broker_host: Arc<str>,
    /// Whether broker ports speak TLS to clients that want it.
    pub broker_tls: bool,
    /// Who may.
    pub key: Key,
}

/// Largest body that is read.
const BODY_MAX: usize = 64 * 1024;

/// All calls below `/v1`. Each needs the key.
pub fn routes(api: Api) -> Router {
    let import = post(instances::import).layer(DefaultBodyLimit::max(IMPORT_BODY_MAX));
    Router::new()
        .route("/v1/brokers", post(brokers::create).get(brokers::list))
        .route("/v1/brokers/{id}", get(brokers::show).delete(brokers::close))
        .route("/v1/instances", import.get(instances::list))
        .route("/v1/instances/{id}", get(instances::show).put(instances::put).delete(instances::remove))
        .route("/v1/sessions", get(sessions::list))
        .route("/v1/sessions/{id}", get(sessions::show).delete(sessions::kill))
        .route("/v1/events", get(events::stream))
        .fallback(async || Problem::no_such_call())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn_with_state(api.clone(), with_key))
        .with_state(api)
}

async fn with_key(State(api): State<Api>, request: Request, next: Next) -> Response {
    let mut response = match shown_key(request.headers()) {
        Some(key) if api.key.is(key) => next.run(request).await,
        Some(_) => Problem::new(401, "wrong_key", "this is not the API key").into_response(),
        None => {
            let detail = "show the API key: Authorization: Bearer KEY, or X-API-Key: KEY";
            Problem::new(401, "no_key", detail).into_response()
        }
    };
    // Answers hold tickets.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn shown_key(headers: &HeaderMap) -> Option<&str> {
    if let Some(key) = headers.get("x-api-key") {
        return key.to_str().ok();
    }
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
