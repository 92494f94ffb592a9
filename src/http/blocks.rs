//! Blocks: which tokens of others are refused.

use super::api_error::ApiError;
use super::body::{NoBody, json_body};
use super::extract::{Query, bad_query};
use super::response_headers::no_store;
use super::state::AppState;
use crate::api::{BlockList, BlockRequest, ChangedBlock};
use crate::cache::Blocked;
use crate::node::Session;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;

const BODY_BYTES_MAX: usize = 4 * 1024;

/// `GET /v1/blocks`.
pub(super) async fn list(session: Session) -> Result<(HeaderMap, Json<BlockList>), ApiError> {
    Ok((no_store(), Json(session.blocks().await?)))
}

/// `POST /v1/blocks`.
pub(super) async fn add(
    State(state): State<AppState>,
    session: Session,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ChangedBlock>, ApiError> {
    let request: BlockRequest = json_body(&state, &headers, body, BODY_BYTES_MAX).await?;
    Ok(Json(ChangedBlock { revision: session.block(request).await? }))
}

/// Query of `DELETE /v1/blocks`: one of the two.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LiftQuery {
    subject: Option<String>,
    jwt_id: Option<String>,
}

/// `DELETE /v1/blocks`.
pub(super) async fn lift(
    session: Session,
    Query(query): Query<LiftQuery>,
    _: NoBody,
) -> Result<Json<ChangedBlock>, ApiError> {
    let blocked = match query {
        LiftQuery { subject: Some(subject), jwt_id: None } => Blocked::Subject(subject),
        LiftQuery { subject: None, jwt_id: Some(id) } => Blocked::JwtId(id),
        _ => return Err(bad_query("subject", "expected either `subject` or `jwt_id`".into())),
    };
    Ok(Json(ChangedBlock { revision: session.unblock(blocked).await? }))
}
