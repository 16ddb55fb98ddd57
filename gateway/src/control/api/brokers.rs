//! `/v1/brokers`.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;

use crate::broker::Stop;

use super::Api;
use super::problem::Problem;
use super::wire::{BrokerView, CreateBroker, CreatedBroker, PageOf, PageQuery};

/// Opens a broker.
pub async fn create(
    State(api): State<Api>,
    body: Result<Json<CreateBroker>, JsonRejection>,
) -> Result<(StatusCode, Json<CreatedBroker>), Problem> {
    let Json(body) = body?;
    let opened = api.lifecycle.open(body.into_wish()?).await?;
    Ok((StatusCode::CREATED, Json(CreatedBroker::new(&opened, &api.broker_host, api.broker_tls))))
}

/// Open brokers.
pub async fn list(
    State(api): State<Api>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<PageOf<BrokerView>>, Problem> {
    let Query(query) = query?;
    let limit = query.limit()?;
    let after = query.after.unwrap_or_default();
    let brokers = api.lifecycle.brokers();
    let views = brokers
        .iter()
        .filter(|(broker, _)| broker.id > after)
        .take(limit as usize + 1)
        .map(|(broker, expires_at)| BrokerView::new(broker, *expires_at, &api.broker_host))
        .collect();
    Ok(Json(PageOf::new(views, limit, |view| &view.broker_id)))
}

/// One open broker.
pub async fn show(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<BrokerView>, Problem> {
    let (broker, expires_at) = api.lifecycle.broker(&id).ok_or_else(|| Problem::no_broker(&id))?;
    Ok(Json(BrokerView::new(&broker, expires_at, &api.broker_host)))
}

/// Closes a broker and ends its sessions.
pub async fn close(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    if api.lifecycle.close(&id, "closed", Stop::Closed).await {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::no_broker(&id))
    }
}
