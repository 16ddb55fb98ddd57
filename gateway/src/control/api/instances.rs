//! `/v1/instances`.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;

use crate::control::events::Event;

use super::Api;
use super::openapi::problems;
use super::problem::Problem;
use super::wire::{ImportInstances, Imported, InstanceView, PageOf, PageQuery, PutInstance};

problems!(
    /// Of the list.
    ListProblems: BadRequest, StoreUnavailable
);
problems!(
    /// Of reading one.
    OneProblems: BadRequest, NoInstance, StoreUnavailable
);
problems!(
    /// Of removing one.
    RemoveProblems: BadRequest, NoInstance, StoreUnavailable, Stopping
);
problems!(
    /// Of writing one.
    PutProblems: BadRequest, TooLarge, NotJson, Slow, StoreUnavailable, Stopping
);

/// All instances.
#[utoipa::path(
    get,
    path = "/v1/instances",
    operation_id = "listInstances",
    tag = "instances",
    params(PageQuery),
    responses((status = 200, description = "In the order of their ids", body = PageOf<InstanceView>), ListProblems),
)]
pub async fn list(
    State(api): State<Api>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<PageOf<InstanceView>>, Problem> {
    let Query(query) = query?;
    let limit = query.limit()?;
    let rows = api.store.instances(&query.after.unwrap_or_default(), limit + 1).await?;
    let views = rows.into_iter().map(|row| InstanceView::new(row, api.reveal_passwords)).collect();
    Ok(Json(PageOf::new(views, limit, |view| &view.instance_id)))
}

/// One instance.
#[utoipa::path(
    get,
    path = "/v1/instances/{id}",
    operation_id = "showInstance",
    tag = "instances",
    params(("id" = String, Path, description = "The instance", example = "i-8snyruit")),
    responses((status = 200, description = "It is known", body = InstanceView), OneProblems),
)]
pub async fn show(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<InstanceView>, Problem> {
    let Path(id) = id?;
    let row = api.store.instance(&id).await?.ok_or_else(|| Problem::no_instance(&id))?;
    Ok(Json(InstanceView::new(row, api.reveal_passwords)))
}

problems!(
    /// Of writing many.
    ImportProblems: BadRequest, TooLarge, NotJson, Slow, StoreUnavailable, Stopping
);

/// Writes all instances of the body, or none.
#[utoipa::path(
    post,
    path = "/v1/instances",
    operation_id = "importInstances",
    tag = "instances",
    request_body = ImportInstances,
    responses((status = 200, description = "All are written", body = Imported), ImportProblems),
)]
pub async fn import(
    State(api): State<Api>,
    body: Result<Json<ImportInstances>, JsonRejection>,
) -> Result<Json<Imported>, Problem> {
    let Json(body) = body?;
    let rows = body.into_rows()?;
    Ok(Json(api.lifecycle.put_instances(rows).await?.into()))
}

/// Writes an instance, and points its brokers at the new place.
#[utoipa::path(
    put,
    path = "/v1/instances/{id}",
    operation_id = "putInstance",
    tag = "instances",
    params(("id" = String, Path, description = "The instance", example = "i-8snyruit")),
    request_body = PutInstance,
    responses(
        (status = 200, description = "It was known, and is written over", body = InstanceView),
        (status = 201, description = "It is new", body = InstanceView),
        PutProblems,
    ),
)]
pub async fn put(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
    body: Result<Json<PutInstance>, JsonRejection>,
) -> Result<(StatusCode, Json<InstanceView>), Problem> {
    let Path(id) = id?;
    let Json(body) = body?;
    let mut row = body.into_row(id)?;
    let new = api.lifecycle.put_instance(row.clone()).await?;
    if !new {
        // Written over, it is the same machine.
        row.tls_seen = api.store.instance(&row.instance_id).await?.and_then(|known| known.tls_seen);
    }
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(InstanceView::new(row, false))))
}

/// Forgets the certificate that an instance showed first: the next one counts.
#[utoipa::path(
    delete,
    path = "/v1/instances/{id}/certificate",
    operation_id = "forgetCertificate",
    tag = "instances",
    params(("id" = String, Path, description = "The instance", example = "i-8snyruit")),
    responses((status = 204, description = "None is known"), OneProblems),
)]
pub async fn forget_certificate(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let Path(id) = id?;
    if api.store.forget_certificate(&id).await? {
        api.events.say(Event::instance("certificate.forgotten", &id));
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::no_instance(&id))
    }
}

/// Removes an instance, and closes its brokers.
#[utoipa::path(
    delete,
    path = "/v1/instances/{id}",
    operation_id = "removeInstance",
    tag = "instances",
    params(("id" = String, Path, description = "The instance", example = "i-8snyruit")),
    responses((status = 204, description = "It is removed, its brokers are closed"), RemoveProblems),
)]
pub async fn remove(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let Path(id) = id?;
    if api.lifecycle.remove_instance(&id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::no_instance(&id))
    }
}
