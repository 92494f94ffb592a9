//! `/v1/locks`: locks that client sessions hold.

use super::api_error::ApiError;
use super::body::{NoBody, json_body};
use super::extract::{NoQuery, PathKey, PrefixQuery, Query, bad_query, idempotency_key, whole};
use super::response_headers::{read_at, written_at};
use super::sessions::JSON_BYTES_MAX;
use super::state::AppState;
use crate::api::{AcquireLock, AcquiredLock, ErrorCode, LockInfo, LockList};
use crate::cache::{CommandError, Key, Lock, Need, Outcome, Role};
use crate::node::{NodeError, Session, SessionError};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

/// Query of a release.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReleaseQuery {
    session: Option<String>,
}

/// `POST /v1/locks/{name}`.
pub(super) async fn acquire(
    State(state): State<AppState>,
    session: Session,
    PathKey(name): PathKey,
    Query(NoQuery {}): Query<NoQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let AcquireLock { session: holder } = json_body(&state, &headers, body, JSON_BYTES_MAX).await?;
    let acquired = session.acquire_lock(name, holder, idempotency_key(&headers, session.lineage())?).await;
    let written = acquired.map_err(|error| refusal(&session, error))?;
    let at = written_at(&written);
    let Outcome::Locked { lock, session_name, acquired } = written.outcome else {
        return Err(ApiError::unexpected_outcome());
    };
    let lock = shown(&session, &lock, &session_name);
    Ok((at, Json(AcquiredLock { lock, acquired })).into_response())
}

/// `DELETE /v1/locks/{name}`.
pub(super) async fn release(
    session: Session,
    PathKey(name): PathKey,
    Query(query): Query<ReleaseQuery>,
    headers: HeaderMap,
    _: NoBody,
) -> Result<Response, ApiError> {
    let holder = query.session.as_deref().and_then(whole);
    let holder = holder.ok_or_else(|| bad_query("session", "expected the number of a session".into()))?;
    let written = session.release_lock(name, holder, idempotency_key(&headers, session.lineage())?).await?;
    Ok((StatusCode::NO_CONTENT, written_at(&written)).into_response())
}

/// `GET /v1/locks/{name}`.
pub(super) async fn get(
    session: Session,
    PathKey(name): PathKey,
    Query(NoQuery {}): Query<NoQuery>,
) -> Result<Response, ApiError> {
    let read = session.lock(&name).await?;
    let at = read_at(&read, session.consistency());
    match read.value {
        Some((lock, holder)) => Ok((at, Json(shown(&session, &lock, &holder))).into_response()),
        None => {
            let reason = format!("nobody holds the lock `{name}`");
            Err(ApiError::new(ErrorCode::NotFound, reason).with_headers(at))
        }
    }
}

/// `GET /v1/locks`.
pub(super) async fn list(session: Session, Query(query): Query<PrefixQuery>) -> Result<Response, ApiError> {
    let read = session.locks(query.prefix()?).await?;
    let at = read_at(&read, session.consistency());
    let locks = read.value.iter().map(|(lock, holder)| shown(&session, lock, holder)).collect();
    Ok((at, Json(LockList { locks, index: read.index })).into_response())
}

/// A lock, with the name of the session that holds it if that may be read.
fn shown(session: &Session, lock: &Lock, holder: &Key) -> LockInfo {
    let info = LockInfo::new(lock, holder.as_str());
    if may_see(session, holder) { info } else { info.without_session_name() }
}

/// The same for a lock that is refused because another session holds it.
fn refusal(session: &Session, error: SessionError) -> ApiError {
    let hides = match &error.error {
        NodeError::Refused { error: CommandError::LockHeld { session_name, .. }, .. } => {
            !may_see(session, session_name)
        }
        _ => false,
    };
    let error = ApiError::from(error);
    if hides { error.without_session_name() } else { error }
}

fn may_see(session: &Session, name: &Key) -> bool {
    session.may_now(&Need::Key(Role::Read, name.clone()))
}
