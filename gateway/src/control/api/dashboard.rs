//! The dashboard: static, and without a key, because it holds nothing. What it shows it asks for with the
//! key that its user has.

use axum::extract::Path;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};

use crate::web::{self, POLICY, Site};

use super::problem::Problem;

/// `/`.
pub async fn first() -> Response {
    answer("/")
}

/// `/assets/NAME`.
pub async fn asset(Path(name): Path<String>) -> Response {
    answer(&format!("/assets/{name}"))
}

fn answer(path: &str) -> Response {
    let Some(page) = web::page(Site::Dashboard, path) else {
        return Problem::no_such_call().into_response();
    };
    let headers = [
        (CONTENT_TYPE, page.content_type.as_str()),
        (CACHE_CONTROL, page.cache),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, page.body).into_response()
}
