//! `POST /v1/get`: many keys at one moment, as far as they fit into an answer.

use super::api_error::ApiError;
use super::batch::parse_key;
use super::body::{bad_body, json_body};
use super::extract::{Query, ReadQuery};
use super::metered_body::reserve_bytes;
use super::response_headers::read_at;
use super::state::AppState;
use crate::api::{GetMany, GotKey, GotMany, ValueDetails};
use crate::cache::Key;
use crate::node::{ReadAt, Session};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

/// Most keys of a request.
const KEYS_MAX: usize = 10_000;
/// An answer ends after the value that brings its values to so many bytes.
pub(super) const ANSWER_BYTES: u64 = 8 * 1024 * 1024;

/// `POST /v1/get`.
pub(super) async fn get_many(
    State(state): State<AppState>,
    session: Session,
    Query(query): Query<ReadQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let (consistency, min_index) = (query.consistency(&session)?, query.min_index(session.lineage())?);
    let GetMany { keys } = json_body(&state, &headers, body, state.limits.batch_bytes).await?;
    if !(1..=KEYS_MAX).contains(&keys.len()) {
        return Err(bad_body(format!("expected 1 to {KEYS_MAX} keys")).field("keys"));
    }
    let parse = |(position, key): (usize, String)| parse_key(&key).map_err(|error| error.op(position));
    let keys = keys.into_iter().enumerate().map(parse).collect::<Result<Vec<Key>, ApiError>>()?;
    let _permit = reserve_bytes(&state, session.stored_bytes(&keys).min(ANSWER_BYTES))?;
    let session = session.with_consistency(consistency).not_before(min_index);
    let read = session.get_many(&keys, ANSWER_BYTES).await?;
    let at = read_at(&read, consistency);
    let ReadAt { value: found, index, now_ms, .. } = read;
    let next = Some(found.len()).filter(|answered| *answered < keys.len());
    let results = found.into_iter().map(|found| match found {
        Ok(found) => GotKey { found: true, entry: Some(ValueDetails::new(found, now_ms)), absent: None },
        Err(absence) => GotKey { found: false, entry: None, absent: Some(absence.into()) },
    });
    Ok((at, Json(GotMany { results: results.collect(), next, index })).into_response())
}
