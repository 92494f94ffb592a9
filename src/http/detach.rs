//! `/v1/detach`, `/v1/attach` and `/v1/detached`: this node leaves its cluster on purpose, and comes back.
//!
//! Both take as long as they take. Whoever has waited for ten seconds is told that it goes on, and so is who waits when the node is
//! being opened again: the server of the one before ends soon.

use super::api_error::ApiError;
use super::body::json_body;
use super::response_headers::no_store;
use super::state::AppState;
use crate::api::{DetachRequest, DetachStatus, ErrorCode};
use crate::merging::{self, AttachRequest, Attached, Losers};
use crate::node::Admin;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::timeout;

const JSON_BYTES_MAX: usize = 1024 * 1024;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// `GET /v1/detached`.
pub(super) async fn get(State(state): State<AppState>, admin: Admin) -> (HeaderMap, Json<DetachStatus>) {
    (no_store(), Json(status(&state, &admin)))
}

fn status(state: &AppState, admin: &Admin) -> DetachStatus {
    DetachStatus { attach: state.attach.borrow().clone(), ..admin.detach_status() }
}

/// `GET /v1/losers`: what lost when this node came back.
pub(super) async fn losers(admin: Admin) -> Result<(HeaderMap, Json<Losers>), ApiError> {
    let node = admin.node().clone();
    let reading = tokio::task::spawn_blocking(move || merging::losers(&node));
    let unreadable =
        |reason: String| ApiError::new(ErrorCode::Unavailable, format!("the files of losers: {reason}"));
    let found = reading.await.map_err(|error| unreadable(error.to_string()))?;
    Ok((no_store(), Json(found.map_err(|error| unreadable(error.to_string()))?)))
}

/// `POST /v1/detach`.
pub(super) async fn detach(
    State(state): State<AppState>,
    admin: Admin,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let DetachRequest { force } = json_body(&state, &headers, body, JSON_BYTES_MAX).await?;
    let done = leave(&state, admin, force).await?;
    let code = if done.detached.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((code, no_store(), Json(done)).into_response())
}

/// Has this node leave its cluster. The answer tells whether it has.
pub(super) async fn leave(state: &AppState, admin: Admin, force: bool) -> Result<DetachStatus, ApiError> {
    let busy = DetachStatus { busy: true, ..status(state, &admin) };
    if let Ok(left) = timeout(ANSWER_TIMEOUT, admin.detach(force)).await {
        left?;
        // As long as it is held it cannot be opened again.
        drop(admin);
        return Ok(opened_again(state).await.unwrap_or(busy));
    }
    Ok(busy)
}

/// How the node is that is opened again; `None` if that takes longer than the server of the one before lets a request last.
async fn opened_again(state: &AppState) -> Option<DetachStatus> {
    timeout(state.limits.shutdown_timeout * 4 / 5, state.front.successor()).await.ok()
}

/// `POST /v1/attach`.
pub(super) async fn attach(
    State(state): State<AppState>,
    admin: Admin,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let request: AttachRequest = json_body(&state, &headers, body, JSON_BYTES_MAX).await?;
    let busy = DetachStatus { busy: true, ..status(&state, &admin) };
    Ok(match come_back(&state, admin, request).await? {
        Some(attached) => (StatusCode::OK, no_store(), Json(attached)).into_response(),
        None => (StatusCode::ACCEPTED, no_store(), Json(busy)).into_response(),
    })
}

/// `POST /v1/attach` as a dry run.
pub(super) async fn preview(state: &AppState, admin: Admin) -> Result<Option<Attached>, ApiError> {
    come_back(state, admin, AttachRequest { dry_run: true, ..AttachRequest::default() }).await
}

/// Has this node come back into its cluster; `None` if that goes on.
pub(super) async fn come_back(
    state: &AppState,
    admin: Admin,
    request: AttachRequest,
) -> Result<Option<Attached>, ApiError> {
    let (node, shared) = (admin.node().clone(), state.clone());
    // As long as it is held it cannot be opened again.
    drop(admin);
    // It goes on if its client does not wait.
    let runtime = Handle::current();
    // On a thread of its own, because it reads and writes large files.
    let attaching = tokio::task::spawn_blocking(move || {
        runtime.block_on(merging::attach(&node, request, shared.attach_policy, Arc::new(()), &shared.attach))
    });
    let Ok(attached) = timeout(ANSWER_TIMEOUT, attaching).await else { return Ok(None) };
    let attached = attached.unwrap_or_else(|error| Err(error.into())).map_err(refused)?;
    let goes_on = attached.attached && opened_again(state).await.is_none();
    Ok(Some(attached).filter(|_| !goes_on))
}

fn refused(error: anyhow::Error) -> ApiError {
    ApiError::new(merging::attach_error(&error), format!("{error:#}"))
}
