//! `/v1/sessions`: which clients are there.

use super::api_error::ApiError;
use super::batch::parse_key;
use super::body::{NoBody, bad_body, json_body};
use super::extract::{NoQuery, PathId, PrefixQuery, Query, idempotency_key};
use super::response_headers::{read_at, written_at};
use super::state::AppState;
use crate::api::{OpenSession, SessionEnd, SessionInfo, SessionList};
use crate::cache::limits::NAME_BYTES_MAX;
use crate::cache::{Key, Need, Outcome, Role};
use crate::node::{Session, Written};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

/// Largest body of a request here.
pub(super) const JSON_BYTES_MAX: usize = 4 * 1024;

/// `POST /v1/sessions`.
pub(super) async fn open(
    State(state): State<AppState>,
    session: Session,
    Query(NoQuery {}): Query<NoQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let OpenSession { name, ttl_ms } = json_body(&state, &headers, body, JSON_BYTES_MAX).await?;
    let name = parse_key(&name).map_err(|error| error.field("name"))?;
    if name.as_str().len() > NAME_BYTES_MAX {
        return Err(bad_body(format!("a name has at most {NAME_BYTES_MAX} bytes")).field("name"));
    }
    let opened = session.open_session(name, ttl_ms, idempotency_key(&headers, session.lineage())?).await?;
    Ok((StatusCode::CREATED, answer(opened)?).into_response())
}

/// `POST /v1/sessions/{id}/renew`.
pub(super) async fn renew(
    session: Session,
    PathId(id): PathId,
    Query(NoQuery {}): Query<NoQuery>,
    _: NoBody,
) -> Result<Response, ApiError> {
    Ok(answer(session.renew_session(id).await?)?.into_response())
}

/// `DELETE /v1/sessions/{id}`.
pub(super) async fn end(
    session: Session,
    PathId(id): PathId,
    Query(NoQuery {}): Query<NoQuery>,
    _: NoBody,
) -> Result<Response, ApiError> {
    let ended = session.end_session(id).await?;
    let at = written_at(&ended);
    let Outcome::SessionEnded { released } = ended.outcome else {
        return Err(ApiError::unexpected_outcome());
    };
    // Another token may have acquired some of them.
    let may_see = |name: &&Key| session.may_now(&Need::Key(Role::Read, (*name).clone()));
    let released = released.iter().filter(may_see).map(|name| name.as_str().to_owned()).collect();
    Ok((at, Json(SessionEnd { released })).into_response())
}

/// `GET /v1/sessions`.
pub(super) async fn list(session: Session, Query(query): Query<PrefixQuery>) -> Result<Response, ApiError> {
    let read = session.client_sessions(query.prefix()?).await?;
    let at = read_at(&read, session.consistency());
    let sessions = read.value.into_iter().map(SessionInfo::from).collect();
    Ok((at, Json(SessionList { sessions, index: read.index })).into_response())
}

fn answer(written: Written) -> Result<(HeaderMap, Json<SessionInfo>), ApiError> {
    let at = written_at(&written);
    match written.outcome {
        Outcome::Session(session) => Ok((at, Json(session.into()))),
        _ => Err(ApiError::unexpected_outcome()),
    }
}
