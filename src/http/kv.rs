//! `/v1/kv/{key}` and the paths below it.

use super::api_error::ApiError;
use super::body::{NoBody, body_bytes, json_body};
use super::conditions::{ReadConditions, put_condition, write_condition};
use super::extract::{
    DeleteQuery, IncrQuery, NoQuery, PathKey, PutQuery, Query, ReadQuery, content_type, flag,
    idempotency_key, ttl,
};
use super::header_names::{ENTRY, PREVIOUS_REVISION, TTL_MS};
use super::metered_body::reserve_answer;
use super::response_headers::{entry, etag, keep_to_own_pages, number, read_at, respond, written_at};
use super::state::AppState;
use crate::api::{Counter, Deadline, ErrorCode, ExpireRequest, IncrRequest};
use crate::cache::{Absence, Command, Condition, DeadlineCondition, Found, Key, Op, Outcome, Value};
use crate::front::MemoryPermit;
use crate::node::{Session, WriteRequest, Written};
use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::de::DeserializeOwned;

/// Largest JSON body of the small requests here.
const JSON_BYTES_MAX: usize = 64 * 1024;
/// Longer values are not copied out of the connection's buffer.
const COPIED_BYTES_MAX: usize = 4 * 1024;
const DEFAULT_CONTENT_TYPE: &str = "application/octet-stream";

/// A request about a key, with a small JSON body.
pub(super) struct KeyAndJson<T, Q = NoQuery> {
    session: Session,
    key: Key,
    query: Q,
    headers: HeaderMap,
    request: T,
}

impl<T: DeserializeOwned, Q: DeserializeOwned + Send> FromRequest<AppState> for KeyAndJson<T, Q> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let session = Session::from_request_parts(&mut parts, state).await?;
        let PathKey(key) = PathKey::from_request_parts(&mut parts, state).await?;
        let Query(query) = Query::<Q>::from_request_parts(&mut parts, state).await?;
        let request = json_body(state, &parts.headers, body, JSON_BYTES_MAX).await?;
        Ok(Self { session, key, query, headers: parts.headers, request })
    }
}

/// `GET` and `HEAD`.
pub(super) async fn get(
    session: Session,
    PathKey(key): PathKey,
    Query(query): Query<ReadQuery>,
    conditions: ReadConditions,
) -> Result<Response, ApiError> {
    let (consistency, min_index) = (query.consistency(&session)?, query.min_index(session.lineage())?);
    let read = session.with_consistency(consistency).not_before(min_index).get(&key).await?;
    let mut answer = read_at(&read, consistency);
    let found = match read.value {
        Ok(found) => found,
        Err(absence) => return Err(no_such_key(&key, absence).with_headers(answer)),
    };
    let info = &found.info;
    answer.insert(header::ETAG, etag(info.revision));
    answer.insert(ENTRY, entry(info));
    if let Some(deadline) = info.expires_at_ms {
        let left = number(deadline.saturating_sub(read.now_ms));
        answer.insert(TTL_MS, left);
    }
    if conditions.knows(info.revision).map_err(|error| error.with_headers(answer.clone()))? {
        return Ok(respond(StatusCode::NOT_MODIFIED, answer, Body::empty()));
    }
    Ok(with_value(answer, found.value))
}

/// `PUT`.
pub(super) async fn put(
    State(state): State<AppState>,
    session: Session,
    PathKey(key): PathKey,
    Query(query): Query<PutQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let asked = flag("previous", query.previous.as_deref())?.then(|| key.clone());
    let condition = put_condition(&headers, query.if_absent_since.as_deref(), session.lineage())?;
    let idempotency_key = idempotency_key(&headers, session.lineage())?;
    let (put, _permit) = put_op(&state, key, &query, condition, headers, body).await?;
    let _answer_permit = reserve_answer(&state, &session, &asked)?;
    let written = session.write(WriteRequest { idempotency_key, ..Command::One(put).into() }).await?;
    let at = written_at(&written);
    let Outcome::Put { revision, created, previous } = written.outcome else {
        return Err(ApiError::unexpected_outcome());
    };
    let answer = changed_at(at, revision);
    Ok(match previous {
        Some(previous) => with_previous(answer, previous),
        None if created => respond(StatusCode::CREATED, answer, Body::empty()),
        None => respond(StatusCode::NO_CONTENT, answer, Body::empty()),
    })
}

/// The operation that a put asks for, and the body's part of the memory. Headers and body are dropped here: as long as a part of
/// them lives, the connection cannot reuse its buffer, and allocates another.
async fn put_op(
    state: &AppState,
    key: Key,
    query: &PutQuery,
    condition: Condition,
    headers: HeaderMap,
    body: Body,
) -> Result<(Op, MemoryPermit), ApiError> {
    let ttl = query.ttl()?;
    let previous = flag("previous", query.previous.as_deref())?;
    let received = body_bytes(state, &headers, body, state.front.limits.value_bytes).await?;
    let (bytes, permit) = received.into_parts();
    let bytes = if bytes.len() <= COPIED_BYTES_MAX { Bytes::copy_from_slice(&bytes) } else { bytes };
    let value = Value::new(bytes, content_type(&headers)?);
    let value =
        value.map_err(|e| ApiError::new(ErrorCode::InvalidValue, e.to_string()).field("content-type"))?;
    Ok((Op::Put { key, value, ttl, condition, previous }, permit))
}

/// `DELETE`.
pub(super) async fn delete(
    State(state): State<AppState>,
    session: Session,
    PathKey(key): PathKey,
    Query(query): Query<DeleteQuery>,
    headers: HeaderMap,
    _: NoBody,
) -> Result<Response, ApiError> {
    let condition = write_condition(&headers)?;
    let previous = flag("previous", query.previous.as_deref())?;
    let _permit = reserve_answer(&state, &session, previous.then_some(&key))?;
    let written = write(&session, &headers, Op::Delete { key: key.clone(), condition, previous }).await?;
    let at = written_at(&written);
    match written.outcome {
        Outcome::Deleted { previous: Some(previous), .. } => Ok(with_previous(at, previous)),
        Outcome::Deleted { previous: None, .. } => Ok(respond(StatusCode::NO_CONTENT, at, Body::empty())),
        Outcome::NotFound(absence) => Err(no_such_key(&key, absence).with_headers(at)),
        _ => Err(ApiError::unexpected_outcome()),
    }
}

/// `POST …/incr`.
pub(super) async fn incr(
    KeyAndJson { session, key, query, headers, request }: KeyAndJson<IncrRequest, IncrQuery>,
) -> Result<Response, ApiError> {
    let ttl = ttl(request.ttl_ms, request.sliding)?;
    let (by, initial) = (request.by.unwrap_or(1), request.initial.unwrap_or(0));
    let condition = put_condition(&headers, query.if_absent_since.as_deref(), session.lineage())?;
    let op = Op::Incr { key, by, initial, ttl, condition };
    let written = write(&session, &headers, op).await?;
    let at = written_at(&written);
    let Outcome::Counter { revision, value, created } = written.outcome else {
        return Err(ApiError::unexpected_outcome());
    };
    let answer = changed_at(at, revision);
    Ok((answer, Json(Counter { value, revision, created })).into_response())
}

/// `POST …/expire`.
pub(super) async fn expire(
    KeyAndJson { session, key, headers, request, .. }: KeyAndJson<ExpireRequest>,
) -> Result<Response, ApiError> {
    let ttl = ttl(Some(request.ttl_ms), request.sliding)?;
    let op = Op::Expire {
        key: key.clone(),
        ttl,
        condition: write_condition(&headers)?,
        only: DeadlineCondition::Always,
    };
    deadline(&write(&session, &headers, op).await?, &key, Some(request.ttl_ms))
}

/// `POST …/persist`.
pub(super) async fn persist(
    session: Session,
    PathKey(key): PathKey,
    Query(NoQuery {}): Query<NoQuery>,
    headers: HeaderMap,
    _: NoBody,
) -> Result<Response, ApiError> {
    let op = Op::Persist { key: key.clone(), condition: write_condition(&headers)? };
    deadline(&write(&session, &headers, op).await?, &key, None)
}

fn deadline(written: &Written, key: &Key, ttl_ms: Option<u64>) -> Result<Response, ApiError> {
    let at = written_at(written);
    let revision = match written.outcome {
        Outcome::Deadline { revision, .. } => revision,
        Outcome::NotFound(absence) => return Err(no_such_key(key, absence).with_headers(at)),
        _ => return Err(ApiError::unexpected_outcome()),
    };
    let answer = changed_at(at, revision);
    Ok((answer, Json(Deadline { revision, ttl_ms })).into_response())
}

/// `/v1/kv/`: a path without a key.
pub(super) async fn no_key() -> ApiError {
    ApiError::new(ErrorCode::InvalidKey, "a key has at least 1 byte").field("key")
}

async fn write(session: &Session, headers: &HeaderMap, op: Op) -> Result<Written, ApiError> {
    let idempotency_key = idempotency_key(headers, session.lineage())?;
    Ok(session.write(WriteRequest { idempotency_key, ..Command::One(op).into() }).await?)
}

/// The headers of a write, with the revision that the key has now.
fn changed_at(mut headers: HeaderMap, revision: u64) -> HeaderMap {
    headers.insert(header::ETAG, etag(revision));
    headers
}

/// 200 with a stored value.
fn with_value(mut headers: HeaderMap, value: Value) -> Response {
    let kind = value.content_type.as_deref().unwrap_or(DEFAULT_CONTENT_TYPE);
    let kind = HeaderValue::from_str(kind).unwrap_or_else(|_| HeaderValue::from_static(DEFAULT_CONTENT_TYPE));
    headers.insert(header::CONTENT_TYPE, kind);
    // A value can claim to be a page. Then nothing in it runs.
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    respond(StatusCode::OK, headers, value.bytes)
}

/// 200 with the value that a write replaced or removed.
fn with_previous(mut headers: HeaderMap, previous: Found) -> Response {
    headers.insert(ENTRY, entry(&previous.info));
    headers.insert(PREVIOUS_REVISION, number(previous.info.revision));
    keep_to_own_pages(&mut headers);
    with_value(headers, previous.value)
}

fn no_such_key(key: &Key, absence: Absence) -> ApiError {
    ApiError::new(ErrorCode::NotFound, format!("there is no key `{key}`")).absent(absence)
}
