//! `/v1/brokers`.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use serde::Deserialize;

use crate::broker::ticket::Token;
use crate::broker::viewer_file::{By, Form, NoFile};
use crate::broker::{Broker, Stop};

use super::Api;
use super::openapi::problems;
use super::problem::Problem;
use super::wire::{BrokerView, CreateBroker, CreatedBroker, PageOf, PageQuery};

problems!(
    /// Of `POST /v1/brokers`.
    CreateProblems: BadRequest, NoInstance, BadInstance, InstanceChanged, TooLarge, NotJson, Slow, NotOpened,
    NoFreePort, StoreUnavailable, Stopping, Full,
);
problems!(
    /// Of the list.
    ListProblems: BadRequest
);
problems!(
    /// Of a call on one broker.
    OneProblems: BadRequest, NoBroker
);
problems!(
    /// Of a file for a viewer.
    ViewerProblems: BadRequest, NoBroker, NotOpened, NoConsole, StoreUnavailable, Stopping, Full
);

/// Opens a broker.
#[utoipa::path(
    post,
    path = "/v1/brokers",
    operation_id = "createBroker",
    tag = "brokers",
    request_body = CreateBroker,
    responses(
        (status = 201, description = "It is open; the only place where its ticket is shown", body = CreatedBroker),
        CreateProblems,
    ),
)]
pub async fn create(
    State(api): State<Api>,
    body: Result<Json<CreateBroker>, JsonRejection>,
) -> Result<(StatusCode, Json<CreatedBroker>), Problem> {
    let Json(body) = body?;
    let opened = api.lifecycle.open(body.into_wish()?).await?;
    Ok((StatusCode::CREATED, Json(CreatedBroker::new(&opened, &api))))
}

/// Open brokers.
#[utoipa::path(
    get,
    path = "/v1/brokers",
    operation_id = "listBrokers",
    tag = "brokers",
    params(PageQuery),
    responses((status = 200, description = "In the order of their ids", body = PageOf<BrokerView>), ListProblems),
)]
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
    let views = api.counted(views).await;
    Ok(Json(PageOf::new(views, limit, |view| &view.broker_id)))
}

/// One open broker.
#[utoipa::path(
    get,
    path = "/v1/brokers/{id}",
    operation_id = "showBroker",
    tag = "brokers",
    params(("id" = String, Path, description = "The broker", example = "b-692af3cae33af3a1fc95")),
    responses((status = 200, description = "It is open", body = BrokerView), OneProblems),
)]
pub async fn show(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<BrokerView>, Problem> {
    let Path(id) = id?;
    let (broker, expires_at) = api.lifecycle.broker(&id).ok_or_else(|| Problem::no_broker(&id))?;
    let view = BrokerView::new(&broker, expires_at, &api.broker_host);
    let mut counted = api.counted(vec![view]).await;
    counted.pop().map(Json).ok_or_else(|| Problem::no_broker(&id))
}

/// Closes a broker and ends its sessions.
#[utoipa::path(
    delete,
    path = "/v1/brokers/{id}",
    operation_id = "closeBroker",
    tag = "brokers",
    params(("id" = String, Path, description = "The broker", example = "b-692af3cae33af3a1fc95")),
    responses((status = 204, description = "It is closed"), OneProblems),
)]
pub async fn close(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let Path(id) = id?;
    if api.lifecycle.close(&id, "closed", Stop::Closed).await {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::no_broker(&id))
    }
}

/// How a viewer is to come.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct ViewerQuery {
    /// By a tunnel through the broker's port, for viewers behind a firewall that lets nothing else out.
    #[param(default = false)]
    proxy: bool,
    /// By such a tunnel too, and with TLS that goes through to the console.
    #[param(default = false)]
    through: bool,
}

/// A file for remote-viewer, with a ticket of its own: good for one session.
#[utoipa::path(
    get,
    path = "/v1/brokers/{id}/console.vv",
    operation_id = "viewerFile",
    tag = "brokers",
    params(("id" = String, Path, description = "The broker", example = "b-692af3cae33af3a1fc95"), ViewerQuery),
    responses(
        (status = 200, description = "The file", body = String, content_type = "application/x-virt-viewer"),
        ViewerProblems
    ),
)]
pub async fn viewer_file(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<ViewerQuery>, QueryRejection>,
) -> Result<File, Problem> {
    let Path(id) = id?;
    let Query(query) = query?;
    let (broker, _) = api.lifecycle.broker(&id).ok_or_else(|| Problem::no_broker(&id))?;
    let by = if query.through {
        api.viewer.may_pass(&broker).map_err(no_file)?;
        By::Through(api.faces.face(broker.clone()).await.map_err(Problem::no_console)?)
    } else if query.proxy {
        By::Tunnel
    } else {
        By::Port
    };
    let file = |broker: &Broker, token: &Token| api.viewer.file(broker, token, &by);
    with_ticket(&api, &id, Form::Vv, file).await
}

/// A file for FreeRDP and mstsc, with a ticket of its own: good for one session.
#[utoipa::path(
    get,
    path = "/v1/brokers/{id}/console.rdp",
    operation_id = "rdpFile",
    tag = "brokers",
    params(("id" = String, Path, description = "The broker", example = "b-692af3cae33af3a1fc95")),
    responses(
        (status = 200, description = "The file", body = String, content_type = "application/x-rdp"),
        ViewerProblems
    ),
)]
pub async fn rdp_file(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
) -> Result<File, Problem> {
    let Path(id) = id?;
    with_ticket(&api, &id, Form::Rdp, |broker, token| api.viewer.rdp_file(broker, token)).await
}

/// A viewer's file, and its type.
type File = ([(HeaderName, &'static str); 1], String);

/// A file for a ticket that is made for it. Whether there can be one is found out before.
async fn with_ticket(
    api: &Api,
    id: &str,
    form: Form,
    file: impl Fn(&Broker, &Token) -> Result<String, NoFile>,
) -> Result<File, Problem> {
    let (broker, _) = api.lifecycle.broker(id).ok_or_else(|| Problem::no_broker(id))?;
    file(&broker, &Token::from_client("")).map_err(no_file)?;
    let opened = api.lifecycle.ticket(id).await?.ok_or_else(|| Problem::no_broker(id))?;
    let file = file(&opened.broker, &opened.token).map_err(no_file)?;
    Ok(([(CONTENT_TYPE, form.content_type())], file))
}

fn no_file(why: NoFile) -> Problem {
    Problem::bad_request(why.to_string())
}
