//! `/v1/sessions`.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;

use super::Api;
use super::problem::Problem;
use super::wire::{PageOf, SessionQuery, SessionState, SessionView};

/// Sessions, live and past.
pub async fn list(
    State(api): State<Api>,
    query: Result<Query<SessionQuery>, QueryRejection>,
) -> Result<Json<PageOf<SessionView>>, Problem> {
    let Query(query) = query?;
    let limit = query.limit()?;
    let live = query.state.map(|state| state == SessionState::Live);
    let rows = api.store.sessions(query.after.as_deref().unwrap_or_default(), limit + 1, live).await?;
    let sessions = api.lifecycle.sessions();
    let views = rows.into_iter().map(|row| {
        let live = sessions.get(&row.session_id);
        SessionView::new(row, live.as_deref())
    });
    Ok(Json(PageOf::new(views.collect(), limit, |view| &view.session_id)))
}

/// One session.
pub async fn show(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<SessionView>, Problem> {
    let row = api.store.session(&id).await?.ok_or_else(|| Problem::no_session(&id))?;
    Ok(Json(SessionView::new(row, api.lifecycle.sessions().get(&id).as_deref())))
}

/// Ends a session; its ticket lets nobody in any more.
pub async fn kill(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    match api.lifecycle.kill(&id) {
        Some(_) => Ok(StatusCode::NO_CONTENT),
        None => Err(Problem::no_session(&id)),
    }
}
