//! `POST /v1/batch`: several operations, all or none, or each by itself.

use super::api_error::ApiError;
use super::body::{bad_body, json_body_or};
use super::cursor::Cursor;
use super::extract::{NoQuery, Query, idempotency_key, ttl};
use super::get_many::ANSWER_BYTES;
use super::metered_body::{reserve_answer, reserve_bytes};
use super::response_headers::{read_at, written_at};
use super::state::AppState;
use crate::api::{
    BatchAnswer, BatchMode, BatchRequest, EntryMeta, ErrorCode, LogIndex, OpAnswer, OpRequest, OpResult,
    RefusedOp, ValueDetails,
};
use crate::cache::limits::BATCH_OPS_MAX;
use crate::cache::{Command, Condition, Found, Key, KeyState, Op, OpRefusal, Outcome, Value};
use crate::lineage::Lineage;
use crate::node::{Session, WriteRequest, refusal_code};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt::Formatter;

/// `POST /v1/batch`.
pub(super) async fn batch(
    State(state): State<AppState>,
    session: Session,
    Query(NoQuery {}): Query<NoQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let limit = state.limits.batch_bytes;
    let BatchRequest { mode, ops } = json_body_or(&state, &headers, body, limit, unreadable).await?;
    let asked: Vec<Asked> = ops.iter().map(Asked::of).collect();
    let parse = |(position, op)| parse(op, &state, &session).map_err(|error| error.op(position));
    let ops = ops.into_iter().enumerate().map(parse).collect::<Result<Vec<Op>, ApiError>>()?;
    let idempotency_key = idempotency_key(&headers, session.lineage())?;
    if idempotency_key.is_none()
        && let Some(keys) = keys_of_reads(&ops)
    {
        return read(&state, &session, &keys).await;
    }
    let read = ops.iter().zip(&asked).filter(|(_, asked)| asked.value).map(|(op, _)| op.key());
    let _permit = reserve_answer(&state, &session, read)?;
    let command = match mode {
        BatchMode::All => Command::Batch(ops),
        BatchMode::Each if !(1..=BATCH_OPS_MAX).contains(&ops.len()) => {
            let reason = format!("a batch has 1 to {BATCH_OPS_MAX} operations");
            return Err(ApiError::new(ErrorCode::InvalidBatch, reason));
        }
        BatchMode::Each => Command::Sequence { guards: Vec::new(), ops },
    };
    let written = session.write(WriteRequest { idempotency_key, ..command.into() }).await?;
    let (at, now_ms) = (written_at(&written), written.now_ms);
    match written.outcome {
        Outcome::Batch { revision, outcomes } => {
            let answers =
                outcomes.into_iter().zip(asked).map(|(outcome, asked)| answer(outcome, &asked, now_ms));
            let results =
                answers.collect::<Option<Vec<OpAnswer>>>().ok_or_else(ApiError::unexpected_outcome)?;
            Ok((at, Json(BatchAnswer { revision, results })).into_response())
        }
        Outcome::Sequence { revision, results } => {
            let results = results.into_iter().zip(asked).map(|(result, asked)| match result {
                Ok(outcome) => answer(outcome, &asked, now_ms).map(OpResult::Done),
                Err(refusal) => {
                    let op = asked.op.to_owned();
                    Some(OpResult::Refused { op, refused: refused(*refusal, now_ms) })
                }
            });
            let results =
                results.collect::<Option<Vec<OpResult>>>().ok_or_else(ApiError::unexpected_outcome)?;
            Ok((at, Json(BatchAnswer { revision, results })).into_response())
        }
        _ => Err(ApiError::unexpected_outcome()),
    }
}

/// What is remembered of an operation for its answer.
struct Asked {
    op: &'static str,
    /// Whether it asks for a value.
    value: bool,
}

impl Asked {
    fn of(op: &OpRequest) -> Self {
        Self { op: op.name(), value: op.asks_for_a_value() }
    }
}

/// The keys of a batch that only reads, and may be carried out: it needs no log entry.
fn keys_of_reads(ops: &[Op]) -> Option<Vec<Key>> {
    let key = |op: &Op| match op {
        Op::Get { key } => Some(key.clone()),
        _ => None,
    };
    let keys = ops.iter().map(key).collect::<Option<Vec<Key>>>();
    keys.filter(|keys| (1..=BATCH_OPS_MAX).contains(&keys.len()))
}

/// Reads all of them at one moment, or none.
async fn read(state: &AppState, session: &Session, keys: &[Key]) -> Result<Response, ApiError> {
    let _permit = reserve_bytes(state, session.stored_bytes(keys).min(ANSWER_BYTES))?;
    let read = session.get_many(keys, ANSWER_BYTES).await?;
    let at = read_at(&read, session.consistency());
    if read.value.len() < keys.len() {
        let reason =
            format!("its answers take more than {ANSWER_BYTES} bytes: POST /v1/get answers in parts");
        return Err(ApiError::new(ErrorCode::InvalidBatch, reason));
    }
    let asked = Asked { op: "get", value: true };
    let results = read.value.into_iter().map(|found| answer(Outcome::Got(found.ok()), &asked, read.now_ms));
    let results = results.collect::<Option<Vec<OpAnswer>>>().ok_or_else(ApiError::unexpected_outcome)?;
    Ok((at, Json(BatchAnswer { revision: read.index, results })).into_response())
}

/// The error for a body that cannot be parsed. It names the operation: they are parsed again one by one.
fn unreadable(body: &[u8], reason: String) -> ApiError {
    let position = Cell::new(None);
    let _ = Whole(&position).deserialize(&mut serde_json::Deserializer::from_slice(body));
    let error = bad_body(reason);
    match position.get() {
        Some(position) => error.op(position),
        None => error,
    }
}

/// Parses a batch's body only to know the position within `ops` at which parsing fails.
struct Whole<'a>(&'a Cell<Option<usize>>);

impl<'de> DeserializeSeed<'de> for Whole<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, body: D) -> Result<(), D::Error> {
        body.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_> {
    type Value = ();

    fn expecting(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            match &*name {
                "ops" => map.next_value_seed(Operations(self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

struct Operations<'a>(&'a Cell<Option<usize>>);

impl<'de> DeserializeSeed<'de> for Operations<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, ops: D) -> Result<(), D::Error> {
        ops.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Operations<'_> {
    type Value = ();

    fn expecting(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        out.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.0.set(Some(0));
        while list.next_element::<OpRequest>()?.is_some() {
            self.0.set(self.0.get().map(|position| position + 1));
        }
        // The error is behind the operations.
        self.0.set(None);
        Ok(())
    }
}

fn parse(op: OpRequest, state: &AppState, session: &Session) -> Result<Op, ApiError> {
    let (value_bytes_max, lineage) = (state.front.limits.value_bytes, session.lineage());
    Ok(match op {
        OpRequest::Get { key } => Op::Get { key: parse_key(&key)? },
        OpRequest::Put {
            key,
            value,
            value_base64,
            content_type,
            ttl_ms,
            sliding,
            previous,
            if_revision,
            if_absent,
            if_present,
            if_absent_since,
        } => Op::Put {
            key: parse_key(&key)?,
            value: parse_value(value, value_base64, content_type.as_deref(), value_bytes_max)?,
            ttl: ttl(ttl_ms, sliding)?,
            condition: condition(if_revision, if_absent, if_present, if_absent_since, lineage)?,
            previous,
        },
        OpRequest::Delete { key, previous, if_revision, if_present } => Op::Delete {
            key: parse_key(&key)?,
            condition: condition(if_revision, false, if_present, None, lineage)?,
            previous,
        },
        OpRequest::Incr {
            key,
            by,
            initial,
            ttl_ms,
            sliding,
            if_revision,
            if_absent,
            if_present,
            if_absent_since,
        } => Op::Incr {
            key: parse_key(&key)?,
            by: by.unwrap_or(1),
            initial: initial.unwrap_or(0),
            ttl: ttl(ttl_ms, sliding)?,
            condition: condition(if_revision, if_absent, if_present, if_absent_since, lineage)?,
        },
    })
}

pub(super) fn parse_key(text: &str) -> Result<Key, ApiError> {
    Key::new(text).map_err(|error| ApiError::new(ErrorCode::InvalidKey, error.to_string()).field("key"))
}

pub(super) fn parse_value(
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

/// The index, if it is one of this history.
fn index_in(index: LogIndex, lineage: &Lineage) -> Result<u64, ApiError> {
    match index {
        LogIndex::Number(index) => Ok(index),
        LogIndex::Text(text) => {
            let wrong = || bad_body(format!("if_absent_since: `{text}` is no log index"));
            Cursor::parse(&text).ok_or_else(wrong)?.index_in(lineage)
        }
    }
}

fn condition(
    revision: Option<u64>,
    absent: bool,
    present: bool,
    absent_since: Option<LogIndex>,
    lineage: &Lineage,
) -> Result<Condition, ApiError> {
    let absent_since = absent_since.map(|index| index_in(index, lineage)).transpose()?;
    match (revision, absent, present, absent_since) {
        (None, false, false, None) => Ok(Condition::Always),
        (Some(revision), false, false, None) => Ok(Condition::Revision(revision)),
        (None, true, false, None) => Ok(Condition::Absent),
        (None, false, true, None) => Ok(Condition::Present),
        (None, false, false, Some(index)) => Ok(Condition::AbsentSince(index)),
        _ => {
            Err(bad_body("give at most one of if_revision, if_absent, if_present and if_absent_since".into()))
        }
    }
}

/// An operation's answer at this log time.
fn answer(outcome: Outcome, asked: &Asked, now_ms: u64) -> Option<OpAnswer> {
    let details = |found: Found| ValueDetails::new(found, now_ms);
    let previous = |found: Option<Found>| asked.value.then(|| found.map(details));
    Some(match outcome {
        Outcome::Got(value) if asked.value => {
            OpAnswer::Get { found: value.is_some(), value: value.map(details) }
        }
        Outcome::Put { created, previous: found, .. } => OpAnswer::Put { created, previous: previous(found) },
        Outcome::Deleted { previous: found, .. } => {
            OpAnswer::Delete { found: true, previous: previous(found) }
        }
        Outcome::NotFound(_) => OpAnswer::Delete { found: false, previous: previous(None) },
        Outcome::Counter { value, created, .. } => OpAnswer::Incr { value, created },
        _ => return None,
    })
}

/// Why an operation was refused, at this log time.
fn refused(OpRefusal { error, key }: OpRefusal, now_ms: u64) -> RefusedOp {
    let (code, detail) = (refusal_code(&error), error.to_string());
    match key {
        KeyState::Present { info, value } => {
            let content_type = value.as_ref().and_then(|value| value.content_type.as_deref());
            RefusedOp {
                code,
                detail,
                found: true,
                meta: Some(EntryMeta::new(&info, now_ms)),
                content_type: content_type.map(str::to_owned),
                value: value.map(|value| value.bytes.into()),
                absent: None,
            }
        }
        KeyState::Absent(absence) => RefusedOp {
            code,
            detail,
            found: false,
            meta: None,
            content_type: None,
            value: None,
            absent: Some(absence.into()),
        },
    }
}
