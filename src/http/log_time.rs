//! `GET /v1/time`: log time, by which entries expire and removals are dated. Clients compare their clocks with it.

use super::api_error::ApiError;
use super::extract::{NoQuery, Query};
use super::response_headers::read_at;
use crate::api::LogTime;
use crate::node::Session;
use axum::Json;
use axum::response::{IntoResponse, Response};

/// `GET /v1/time`.
pub(super) async fn log_time(
    session: Session,
    Query(NoQuery {}): Query<NoQuery>,
) -> Result<Response, ApiError> {
    let read = session.log_time().await?;
    let headers = read_at(&read, session.consistency());
    Ok((headers, Json(LogTime { time_ms: read.now_ms, index: read.index })).into_response())
}
