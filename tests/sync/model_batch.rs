//! Batches of the model: independent operations in one log entry, once for each idempotency key.

use crate::model::{State, problem};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use lockstep::api::{ErrorCode, LogIndex, OpRequest, WireEvent};
use lockstep::cache::RemovalCause;
use lockstep::client::ClientError;
use lockstep::client::sync::{BatchDone, OpDone, Place, SyncValue};
use std::collections::BTreeSet;

/// How long an idempotency key is remembered.
const REMEMBERED_MS: u64 = 10 * 60_000;
const OPS_MAX: usize = 1024;
const LOG_BYTES_MAX: usize = 2 << 20;
const JSON_BYTES_MAX: usize = 4 << 20;

/// What must hold before an operation.
#[derive(Default)]
struct Guard {
    if_revision: Option<u64>,
    if_present: bool,
    if_absent_since: Option<u64>,
}

impl State {
    /// Carries out operations, each by itself, or answers as the first time.
    pub fn batch(
        &mut self,
        ops: &[OpRequest],
        key: &str,
        sent_after: &Place,
    ) -> Result<BatchDone, ClientError> {
        let now = self.now();
        let is_old = |at: u64| now.saturating_sub(at) >= REMEMBERED_MS;
        let old = self.remembered.values().filter(|(at, ..)| is_old(*at)).map(|(.., done)| done.revision);
        self.forgotten = old.fold(self.forgotten, u64::max);
        self.remembered.retain(|_, (at, ..)| !is_old(*at));
        if sent_after.history != self.history() {
            return Err(problem(ErrorCode::OtherHistory, None));
        }
        if let Some((_, before, done)) = self.remembered.get(key) {
            return match before == ops {
                true => Ok(done.clone()),
                false => Err(problem(ErrorCode::IdempotencyKeyReused, None)),
            };
        }
        if sent_after.index < self.forgotten {
            return Err(problem(ErrorCode::OutcomeForgotten, None));
        }
        let keys: BTreeSet<&str> = ops.iter().map(key_of).collect();
        if ops.is_empty() || ops.len() > OPS_MAX || keys.len() < ops.len() {
            return Err(problem(ErrorCode::InvalidBatch, None));
        }
        let json = serde_json::to_vec(ops).expect("json").len();
        let log: usize = ops
            .iter()
            .map(|op| 64 + key_of(op).len() + value_of(op).map_or(0, |value| value.bytes.len()))
            .sum();
        if json > JSON_BYTES_MAX || log > LOG_BYTES_MAX {
            return Err(problem(ErrorCode::TooLarge, None));
        }
        if ops.iter().filter_map(absent_since).any(|(_, history)| history != self.history()) {
            return Err(problem(ErrorCode::OtherHistory, None));
        }
        let mut results = Vec::new();
        let revision = self.entry(None, |state, index, events| {
            for op in ops {
                let done = state.apply(op, index, events);
                results.push(done);
            }
        });
        let done = BatchDone { revision, history: self.history().to_owned(), results };
        self.remembered.insert(key.to_owned(), (now, ops.to_vec(), done.clone()));
        Ok(done)
    }

    fn apply(&mut self, op: &OpRequest, index: u64, events: &mut Vec<WireEvent>) -> OpDone {
        let key = key_of(op);
        self.expire(key, index, events);
        if !self.holds(key, &guard_of(op)) {
            return self.refused(key, ErrorCode::PreconditionFailed);
        }
        match op {
            OpRequest::Put { ttl_ms, .. } => {
                let value = value_of(op).expect("a put has a value");
                self.store(key, value, index, *ttl_ms, None, events);
                OpDone::Done { number: None }
            }
            OpRequest::Delete { .. } => {
                self.drop_key(key, RemovalCause::Delete, index, events);
                OpDone::Done { number: None }
            }
            OpRequest::Incr { by, .. } => {
                let before = self.entries.get(key).map(|stored| stored.value.clone());
                let text = before.as_ref().map_or("0".into(), |value| String::from_utf8_lossy(&value.bytes));
                let Ok(number) = text.parse::<i64>() else { return self.refused(key, ErrorCode::NotANumber) };
                let Some(sum) = number.checked_add(by.unwrap_or(1)) else {
                    return self.refused(key, ErrorCode::Overflow);
                };
                let content_type = before.and_then(|value| value.content_type);
                let value = SyncValue { bytes: sum.to_string().into(), content_type };
                self.store(key, value, index, None, None, events);
                OpDone::Done { number: Some(sum) }
            }
            OpRequest::Get { .. } => panic!("a synchronizer reads by other requests"),
        }
    }

    fn refused(&self, key: &str, code: ErrorCode) -> OpDone {
        OpDone::Refused { code, detail: code.as_str().to_owned(), state: self.key_state(key, false) }
    }

    fn expire(&mut self, key: &str, index: u64, events: &mut Vec<WireEvent>) {
        let now = self.now();
        if self.entries.get(key).and_then(|stored| stored.deadline).is_some_and(|deadline| deadline <= now) {
            self.drop_key(key, RemovalCause::Expire, index, events);
        }
    }

    fn holds(&self, key: &str, guard: &Guard) -> bool {
        let stored = self.entries.get(key);
        let is_absent_since = |index: u64| {
            let is_later = self.gone(key).is_some_and(|gone| gone.revision > index);
            stored.is_none() && self.floor <= index && !is_later
        };
        guard.if_revision.is_none_or(|revision| stored.is_some_and(|stored| stored.revision == revision))
            && (!guard.if_present || stored.is_some())
            && guard.if_absent_since.is_none_or(is_absent_since)
    }
}

pub fn key_of(op: &OpRequest) -> &str {
    match op {
        OpRequest::Get { key }
        | OpRequest::Put { key, .. }
        | OpRequest::Delete { key, .. }
        | OpRequest::Incr { key, .. } => key,
    }
}

fn value_of(op: &OpRequest) -> Option<SyncValue> {
    let OpRequest::Put { value, value_base64, content_type, .. } = op else { return None };
    let bytes = match (value, value_base64) {
        (Some(text), None) => text.clone().into(),
        (None, Some(base64)) => BASE64.decode(base64).expect("base64").into(),
        _ => panic!("a put has one value"),
    };
    Some(SyncValue { bytes, content_type: content_type.clone() })
}

/// An index, and the history that it belongs to.
fn place_of(index: &LogIndex) -> (u64, &str) {
    let LogIndex::Text(text) = index else { panic!("a synchronizer says which history it means") };
    let (index, history) = text.split_once('@').expect("an index and a history");
    (index.parse().expect("an index"), history)
}

fn absent_since(op: &OpRequest) -> Option<(u64, &str)> {
    match op {
        OpRequest::Put { if_absent_since, .. } | OpRequest::Incr { if_absent_since, .. } => {
            if_absent_since.as_ref().map(place_of)
        }
        OpRequest::Delete { .. } | OpRequest::Get { .. } => None,
    }
}

fn guard_of(op: &OpRequest) -> Guard {
    let if_absent_since = absent_since(op).map(|(index, _)| index);
    match *op {
        OpRequest::Put { if_revision, if_present, .. }
        | OpRequest::Incr { if_revision, if_present, .. }
        | OpRequest::Delete { if_revision, if_present, .. } => {
            Guard { if_revision, if_present, if_absent_since }
        }
        OpRequest::Get { .. } => Guard::default(),
    }
}
