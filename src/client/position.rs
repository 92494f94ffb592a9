//! Where in the log an answer is from.

use super::error::{ClientError, garbled};
use super::http::Answered;
use crate::api::{HISTORY, IDEMPOTENCY_REPLAYED, INDEX, TIME_MS};
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Shortest beginning of a history's id that names it, in bytes.
const HISTORY_BYTES_MIN: usize = 8;

/// A log index, and the id of the history in which it means something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub index: u64,
    pub history: String,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.history)
    }
}

/// The newest place in the log that an answer has named: its index, and the id of its history.
#[derive(Debug, Default)]
pub(super) struct Newest(Mutex<Option<(u64, Arc<str>)>>);

impl Newest {
    pub(super) fn get(&self) -> Option<(u64, Arc<str>)> {
        self.0.lock().expect("no panic while held").clone()
    }

    pub(super) fn note(&self, answered: &Answered) {
        let (Some(index), Some(history)) = (answered.number(INDEX), answered.text(HISTORY)) else { return };
        let mut newest = self.0.lock().expect("no panic while held");
        match &mut *newest {
            Some((known, its)) if **its == *history => *known = index.max(*known),
            other => *other = Some((index, history.into())),
        }
    }
}

/// Where in the log an answer is from, and when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub index: u64,
    pub history: String,
    /// Log time of the answer, in milliseconds since the Unix epoch; absent if it was not said.
    pub time_ms: Option<u64>,
    /// When the request was sent that got this answer.
    pub sent_at: Instant,
    /// Whether it repeats what an earlier try of a write was answered. The index is then that of the repetition.
    pub replayed: bool,
}

impl Position {
    pub fn cursor(&self) -> Cursor {
        Cursor { index: self.index, history: self.history.clone() }
    }
}

/// An answer, and where it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Positioned<T> {
    pub value: T,
    pub at: Position,
}

/// Whether two ids are of one history: each may be only the beginning of it.
pub fn is_same_history(one: &str, other: &str) -> bool {
    let short = HISTORY_BYTES_MIN;
    one.len() >= short && other.len() >= short && (one.starts_with(other) || other.starts_with(one))
}

pub(super) fn position(answered: &Answered) -> Result<Position, ClientError> {
    let missing = |name: &str| garbled(&answered.url, &format!("it has no {name}"));
    Ok(Position {
        index: answered.number(INDEX).ok_or_else(|| missing(INDEX))?,
        history: answered.text(HISTORY).ok_or_else(|| missing(HISTORY))?.to_owned(),
        time_ms: answered.number(TIME_MS),
        sent_at: answered.sent_at,
        replayed: answered.text(IDEMPOTENCY_REPLAYED) == Some("true"),
    })
}

/// The body of a response, which is JSON, and where it is from.
pub(super) fn positioned<T: DeserializeOwned>(answered: &Answered) -> Result<Positioned<T>, ClientError> {
    Ok(Positioned { value: answered.json()?, at: position(answered)? })
}
