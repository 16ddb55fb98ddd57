//! `/v1/instances`.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;

use super::Api;
use super::problem::Problem;
use super::wire::{ImportInstances, Imported, InstanceView, PageOf, PageQuery, PutInstance};

/// All instances.
pub async fn list(
    State(api): State<Api>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<PageOf<InstanceView>>, Problem> {
    let Query(query) = query?;
    let limit = query.limit()?;
    let rows = api.store.instances(&query.after.unwrap_or_default(), limit + 1).await?;
    let views = rows.into_iter().map(InstanceView::from).collect();
    Ok(Json(PageOf::new(views, limit, |view| &view.instance_id)))
}

/// One instance.
pub async fn show(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<InstanceView>, Problem> {
    let row = api.store.instance(&id).await?.ok_or_else(|| Problem::no_instance(&id))?;
    Ok(Json(row.into()))
}

/// Writes all instances of the body, or none.
pub async fn import(
    State(api): State<Api>,
    body: Result<Json<ImportInstances>, JsonRejection>,
) -> Result<Json<Imported>, Problem> {
    let Json(body) = body?;
    let rows = body.into_rows()?;
    Ok(Json(api.lifecycle.put_instances(rows).await?.into()))
}

/// Writes an instance, and points its brokers at the new place.
pub async fn put(
    State(api): State<Api>,
    Path(id): Path<String>,
    body: Result<Json<PutInstance>, JsonRejection>,
) -> Result<(StatusCode, Json<InstanceView>), Problem> {
    let Json(body) = body?;
    let row = body.into_row(id)?;
    let new = api.lifecycle.put_instance(row.clone()).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(row.into())))
}

/// Removes an instance, and closes its brokers.
pub async fn remove(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    if api.lifecycle.remove_instance(&id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::no_instance(&id))
    }
}
