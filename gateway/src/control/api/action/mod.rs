//! `/iaas/?action=...`: the calls in the action style of older clouds. Parameters come in the query or
//! as a form, lists as `instances.1=...&instances.2=...`; answers carry `action` and `ret_code`.

mod brokers;
mod instances;
mod parameters;
pub mod wire;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::code::Code;
use super::problem::Problem;
use parameters::{Parameters, action_in};
use wire::{Answer, Done, Name, Query, Refusals, Refused};

/// An action, with its parameters in the query.
#[utoipa::path(
    get,
    path = "/iaas/",
    operation_id = "actionByQuery",
    tag = "actions",
    params(Query),
    responses((status = 200, description = "Done; `ret_code` is 0", body = Done), Refusals),
)]
pub async fn by_query(State(api): State<Api>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    respond(&api, &headers, &query.unwrap_or_default(), None).await
}

/// An action, with its parameters in a form, in the query, or some here and some there.
#[utoipa::path(
    post,
    path = "/iaas/",
    operation_id = "actionByForm",
    tag = "actions",
    params(("action" = Option<Name>, Query, description = "What to do, if the form does not say")),
    request_body(content = Query, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "Done; `ret_code` is 0", body = Done), Refusals),
)]
pub async fn by_form(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    form: Result<Bytes, BytesRejection>,
) -> Response {
    respond(&api, &headers, &query.unwrap_or_default(), Some(form)).await
}

/// The answer, in this style also where it is no.
async fn respond(
    api: &Api,
    headers: &HeaderMap,
    query: &str,
    form: Option<Result<Bytes, BytesRejection>>,
) -> Response {
    // Named also in the answer to parameters that cannot be read.
    let in_form = || action_in(form.as_ref()?.as_ref().ok()?);
    let action = action_in(query.as_bytes()).or_else(in_form).unwrap_or_default();
    let name = if action.is_empty() { String::new() } else { format!("{action}Response") };
    match work(api, headers, &action, query, form).await {
        Ok(answer) => Json(Done { action: name, ret_code: 0, answer }).into_response(),
        Err(problem) => problem.answer(Refused {
            action: name,
            ret_code: problem.code().number(),
            code: problem.code().name(),
            message: problem.detail(),
        }),
    }
}

async fn work(
    api: &Api,
    headers: &HeaderMap,
    action: &str,
    query: &str,
    form: Option<Result<Bytes, BytesRejection>>,
) -> Result<Answer, Problem> {
    api.check_key(headers)?;
    let mut parameters = Parameters::default();
    parameters.read(query.as_bytes())?;
    if let Some(form) = form {
        let form = form?;
        if !form.is_empty() {
            is_form(headers)?;
            parameters.read(&form)?;
        }
    }
    if parameters.take("action").is_none() {
        return Err(Problem::bad_request("name the action: action=..."));
    }
    match action.parse() {
        Ok(Name::CreateBrokers) => brokers::create(api, parameters).await,
        Ok(Name::DescribeBrokers) => brokers::describe(api, parameters),
        Ok(Name::DeleteBrokers) => brokers::delete(api, parameters).await,
        Ok(Name::DescribeInstances) => instances::describe(api, parameters).await,
        Err(()) => Err(Problem::new(Code::NoSuchCall, format!("there is no action {action:?}"))),
    }
}

fn is_form(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Ok(());
    }
    Err(Problem::new(Code::NotForm, "a body has to be application/x-www-form-urlencoded"))
}
