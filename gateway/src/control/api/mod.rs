//! The HTTP API: routes, the key, and what the answers look like. Wire types are in `wire` and go no
//! further than the handlers.

pub mod action;
mod brokers;
pub mod code;
mod dashboard;
mod events;
mod instances;
mod openapi;
mod page;
pub mod problem;
mod sessions;
pub mod status;
pub mod wire;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderValue};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::get;
use percent_encoding::percent_decode;
use tokio::sync::watch;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::broker::viewer_file::{Faces, Viewer};
use crate::kernel::filter::Gate;
use crate::kernel::interfaces::Seat;
use crate::metrics::Metrics;
use crate::web::NO_STORE;

use super::access::Key;
use super::events::Events;
use super::lifecycle::Lifecycle;
use super::store::Store;
use code::Code;
use problem::Problem;
use status::About;
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
    /// Files for native viewers.
    pub viewer: Arc<Viewer>,
    /// How consoles show themselves.
    pub faces: Arc<dyn Faces>,
    /// Whether the passwords of consoles are shown.
    pub reveal_passwords: bool,
    /// Who may.
    pub key: Key,
    /// What the daemon runs on.
    pub about: Arc<About>,
    /// The filter, for its counters.
    pub gate: Gate,
    /// Where the filter is.
    pub seats: watch::Receiver<Vec<Seat>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// Largest body that is read.
const BODY_MAX: usize = 64 * 1024;

/// The calls that need the key.
fn keyed() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(openapi::Frame::openapi())
        .routes(routes!(brokers::create, brokers::list))
        .routes(routes!(brokers::show, brokers::close))
        .routes(routes!(brokers::viewer_file))
        .routes(routes!(brokers::rdp_file))
        .routes(routes!(instances::list))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(instances::import))
                .layer(DefaultBodyLimit::max(IMPORT_BODY_MAX)),
        )
        .routes(routes!(instances::show, instances::put, instances::remove))
        .routes(routes!(instances::forget_certificate))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::show, sessions::kill))
        .routes(routes!(events::stream))
        .routes(routes!(status::show))
}

/// The calls that do without it, or answer in their own way who shows none.
fn unkeyed() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(openapi::show)).routes(routes!(action::by_query, action::by_form))
}

/// The API's description.
pub fn document() -> OpenApi {
    keyed().merge(unkeyed()).into_openapi()
}

/// The dashboard. It is no call.
fn dashboard() -> Router<Api> {
    Router::new().route("/", get(dashboard::first)).route("/assets/{name}", get(dashboard::asset))
}

/// All calls, and the dashboard.
pub fn routes(api: Api) -> Router {
    let keyed = Router::from(keyed())
        .fallback(async || Problem::no_such_call())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(from_fn_with_state(api.clone(), with_key));
    let unkeyed = Router::from(unkeyed())
        .merge(dashboard())
        .method_not_allowed_fallback(async || Problem::method_not_allowed());
    keyed
        .merge(unkeyed)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(map_response(without_store))
        .with_state(api)
}

/// Answers hold tickets. Parts of the dashboard say themselves how long they are good.
async fn without_store(mut response: Response) -> Response {
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static(NO_STORE));
    response
}

async fn with_key(State(api): State<Api>, request: Request, next: Next) -> Result<Response, Problem> {
    api.check_key(request.headers())?;
    check_text(request.uri().query().unwrap_or_default().as_bytes())?;
    Ok(next.run(request).await)
}

/// A query or a form that is UTF-8 behind its percent signs. What reads it would pass over what is not.
fn check_text(encoded: &[u8]) -> Result<(), Problem> {
    let decoded = percent_decode(encoded).decode_utf8();
    decoded.map(drop).map_err(|_| Problem::bad_request("the parameters are not UTF-8"))
}

impl Api {
    /// Whether the caller may.
    fn check_key(&self, headers: &HeaderMap) -> Result<(), Problem> {
        match shown_key(headers) {
            Some(key) if self.key.is(key) => Ok(()),
            Some(_) => Err(Problem::new(Code::WrongKey, "this is not the API key")),
            None => {
                let detail = "show the API key: Authorization: Bearer KEY, or X-API-Key: KEY";
                Err(Problem::new(Code::NoKey, detail))
            }
        }
    }
}

fn shown_key(headers: &HeaderMap) -> Option<&str> {
    if let Some(key) = headers.get("x-api-key") {
        return key.to_str().ok();
    }
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
