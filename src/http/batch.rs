//! `POST /v1/batch`: several operations, all or none.

use super::door::{Door, Ready};
use super::extract::{NoQuery, Query, bad_body, idempotency_key, json_body, ttl};
use super::kv::{unexpected, written_at};
use super::respond::ApiError;
use crate::api::{BatchAnswer, BatchRequest, ErrorCode, OpAnswer, OpRequest, WireValue};
use crate::cache::{Command, Condition, Found, Key, Op, Outcome, Ttl, Value};
use crate::node::WriteRequest;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;

/// `POST /v1/batch`.
pub(super) async fn batch(
    State(door): State<Door>,
    Ready(node): Ready,
    Query(NoQuery {}): Query<NoQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let request: BatchRequest = json_body(&door, &headers, body, door.limits.batch_bytes).await?;
    let reads: Vec<bool> = request.ops.iter().map(|op| matches!(op, OpRequest::Get { .. })).collect();
    let parse = |(position, op)| parse(op, door.limits.value_bytes).map_err(|error| error.op(position));
    let ops = request.ops.into_iter().enumerate().map(parse).collect::<Result<Vec<Op>, ApiError>>()?;
    let idempotency_key = idempotency_key(&headers)?;
    let request = WriteRequest { command: Command::Batch(ops), idempotency_key, limit: None };
    let written = node.write(request).await.map_err(|error| ApiError::from_node(&node, error))?;
    let at = written_at(&written);
    let Outcome::Batch { revision, outcomes } = written.outcome else { return Err(unexpected()) };
    let answers = outcomes.into_iter().zip(reads).map(|(outcome, is_read)| answer(outcome, is_read));
    let results = answers.collect::<Option<Vec<OpAnswer>>>().ok_or_else(unexpected)?;
    Ok((at, Json(BatchAnswer { revision, results })).into_response())
}

fn parse(op: OpRequest, value_bytes_max: usize) -> Result<Op, ApiError> {
    Ok(match op {
        OpRequest::Get { key } => Op::Get { key: parse_key(&key)? },
        OpRequest::Put {
            key,
            value,
            value_base64,
            content_type,
            ttl_ms,
            if_revision,
            if_absent,
            if_present,
        } => Op::Put {
            key: parse_key(&key)?,
            value: parse_value(value, value_base64, content_type.as_deref(), value_bytes_max)?,
            ttl: ttl_ms.map_or(Ok(Ttl::Default), ttl)?,
            condition: condition(if_revision, if_absent, if_present)?,
            previous: false,
        },
        OpRequest::Delete { key, if_revision, if_present } => Op::Delete {
            key: parse_key(&key)?,
            condition: condition(if_revision, false, if_present)?,
            previous: false,
        },
        OpRequest::Incr { key, by, initial, ttl_ms, if_revision, if_absent, if_present } => Op::Incr {
            key: parse_key(&key)?,
            by: by.unwrap_or(1),
            initial: initial.unwrap_or(0),
            ttl: ttl_ms.map_or(Ok(Ttl::Default), ttl)?,
            condition: condition(if_revision, if_absent, if_present)?,
        },
    })
}

fn parse_key(text: &str) -> Result<Key, ApiError> {
    Key::new(text).map_err(|error| ApiError::new(ErrorCode::InvalidKey, error.to_string()).field("key"))
}

fn parse_value(
    text: Option<String>,
    base64: Option<String>,
    content_type: Option<&str>,
    bytes_max: usize,
) -> Result<Value, ApiError> {
    let bytes = match (text, base64) {
        (Some(text), None) => Bytes::from(text),
        (None, Some(base64)) => {
            let decoded = BASE64.decode(base64);
            decoded.map(Bytes::from).map_err(|error| bad_body(format!("value_base64: {error}")))?
        }
        _ => return Err(bad_body("a put has either `value` or `value_base64`".into())),
    };
    if bytes.len() > bytes_max {
        let reason = format!("the value has {} bytes, at most {bytes_max} are taken", bytes.len());
        return Err(ApiError::new(ErrorCode::TooLarge, reason).field("value"));
    }
    let invalid = |error: crate::cache::ValueError| ApiError::new(ErrorCode::InvalidValue, error.to_string());
    Value::new(bytes, content_type).map_err(|error| invalid(error).field("content_type"))
}

fn condition(revision: Option<u64>, absent: bool, present: bool) -> Result<Condition, ApiError> {
    match (revision, absent, present) {
        (None, false, false) => Ok(Condition::Always),
        (Some(revision), false, false) => Ok(Condition::Revision(revision)),
        (None, true, false) => Ok(Condition::Absent),
        (None, false, true) => Ok(Condition::Present),
        _ => Err(bad_body("give at most one of if_revision, if_absent and if_present".into())),
    }
}

fn answer(outcome: Outcome, is_read: bool) -> Option<OpAnswer> {
    Some(match outcome {
        Outcome::Got(found) if is_read => got(found),
        Outcome::Put { created, .. } => OpAnswer::Put { created },
        Outcome::Deleted { .. } => OpAnswer::Delete { found: true },
        Outcome::NotFound => OpAnswer::Delete { found: false },
        Outcome::Counter { value, created, .. } => OpAnswer::Incr { value, created },
        _ => return None,
    })
}

fn got(found: Option<Found>) -> OpAnswer {
    let Some(found) = found else {
        return OpAnswer::Get { found: false, value: None, content_type: None, revision: None };
    };
    let value = match String::from_utf8(found.value.bytes.to_vec()) {
        Ok(value) => WireValue::Text { value },
        Err(bytes) => WireValue::Base64 { value_base64: BASE64.encode(bytes.into_bytes()) },
    };
    let content_type = found.value.content_type.as_deref().map(str::to_owned);
    OpAnswer::Get { found: true, value: Some(value), content_type, revision: Some(found.revision) }
}
