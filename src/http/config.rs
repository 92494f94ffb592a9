//! `/v1/config`: the replicated settings.

use super::api_error::ApiError;
use super::body::{body_bytes, from_object};
use super::extract::{NoQuery, Query, ReadQuery, idempotency_key};
use super::response_headers::{read_at, written_at};
use super::state::AppState;
use crate::api::{ConfigBody, ConfigUpdate, ErrorCode};
use crate::cache::{Command, ConfigChange, Outcome};
use crate::node::{Session, WriteRequest};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

const BODY_BYTES_MAX: usize = 64 * 1024;

/// `GET /v1/config`.
pub(super) async fn get(session: Session, Query(query): Query<ReadQuery>) -> Result<Response, ApiError> {
    let (consistency, min_index) = (query.consistency(&session)?, query.min_index(session.lineage())?);
    let read = session.with_consistency(consistency).not_before(min_index).config().await?;
    let headers = read_at(&read, consistency);
    Ok((headers, Json(ConfigBody::from(read.value))).into_response())
}

/// `PUT /v1/config`.
pub(super) async fn put(
    State(state): State<AppState>,
    session: Session,
    Query(NoQuery {}): Query<NoQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let invalid = |reason: String| ApiError::new(ErrorCode::InvalidConfig, reason);
    let held = body_bytes(&state, &headers, body, BODY_BYTES_MAX).await?;
    let update: ConfigUpdate = from_object(&held.bytes).map_err(|error| invalid(format!("body: {error}")))?;
    let change = ConfigChange {
        policy: update.policy,
        capacity_entries: update.capacity_entries,
        capacity_bytes: update.capacity_bytes,
        default_ttl_ms: update.default_ttl_ms,
        touch_enabled: update.touch.enabled,
        touch_interval_ms: update.touch.interval_ms,
        touch_max_per_flush: update.touch.max_per_flush,
    };
    let idempotency_key = idempotency_key(&headers, session.lineage())?;
    let request = WriteRequest { idempotency_key, ..Command::Configure(change).into() };
    let written = session.write(request).await?;
    let headers = written_at(&written);
    let Outcome::Configured(config) = written.outcome else { return Err(ApiError::unexpected_outcome()) };
    Ok((headers, Json(ConfigBody::from(config))).into_response())
}
