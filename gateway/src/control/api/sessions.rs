//! `/v1/sessions`.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;

use super::Api;
use super::openapi::problems;
use super::problem::Problem;
use super::wire::{PageOf, SessionQuery, SessionState, SessionView};

problems!(
    /// Of the list.
    ListProblems: BadRequest, StoreUnavailable
);
problems!(
    /// Of reading one.
    OneProblems: BadRequest, NoSession, StoreUnavailable
);
problems!(
    /// Of ending one.
    KillProblems: BadRequest, NoSession
);

/// Sessions, live and past.
#[utoipa::path(
    get,
    path = "/v1/sessions",
    operation_id = "listSessions",
    tag = "sessions",
    params(SessionQuery),
    responses((status = 200, description = "In the order of their ids; those that ended, the last one first", body = PageOf<SessionView>), ListProblems),
)]
pub async fn list(
    State(api): State<Api>,
    query: Result<Query<SessionQuery>, QueryRejection>,
) -> Result<Json<PageOf<SessionView>>, Problem> {
    let Query(query) = query?;
    let limit = query.limit()?;
    let live = query.state.map(|state| state == SessionState::Live);
    let after = query.after.as_deref().unwrap_or_default();
    let rows = api.store.sessions(after, limit + 1, live).await?;
    let sessions = api.lifecycle.sessions();
    let views = rows.into_iter().map(|row| {
        let live = sessions.get(&row.session_id);
        SessionView::new(row, live.as_deref())
    });
    Ok(Json(PageOf::new(views.collect(), limit, |view| &view.session_id)))
}

/// One session.
#[utoipa::path(
    get,
    path = "/v1/sessions/{id}",
    operation_id = "showSession",
    tag = "sessions",
    params(("id" = String, Path, description = "The session", example = "s-692af3d19a8e77450f6c")),
    responses((status = 200, description = "It is known", body = SessionView), OneProblems),
)]
pub async fn show(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<SessionView>, Problem> {
    let Path(id) = id?;
    let row = api.store.session(&id).await?.ok_or_else(|| Problem::no_session(&id))?;
    Ok(Json(SessionView::new(row, api.lifecycle.sessions().get(&id).as_deref())))
}

/// Ends a session; its ticket lets nobody in any more.
#[utoipa::path(
    delete,
    path = "/v1/sessions/{id}",
    operation_id = "killSession",
    tag = "sessions",
    params(("id" = String, Path, description = "The session", example = "s-692af3d19a8e77450f6c")),
    responses((status = 204, description = "It was told to end"), KillProblems),
)]
pub async fn kill(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let Path(id) = id?;
    match api.lifecycle.kill(&id).await {
        Some(_) => Ok(StatusCode::NO_CONTENT),
        None => Err(Problem::no_session(&id)),
    }
}
