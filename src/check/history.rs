//! What clients did, as a value and as JSON lines: a header, then one operation a line.

use super::{jepsen, models};
use crate::api::{Effect, ErrorCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;
use std::io::BufRead;

/// How an operation ended, for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It took effect, and `result` is the answer.
    Ok,
    /// It had no effect and never will. `error` may still tell what was seen.
    Fail,
    /// It may have taken effect, may still, or never will.
    Unknown,
}

impl From<ErrorCode> for Outcome {
    fn from(code: ErrorCode) -> Self {
        match code.effect() {
            Effect::None => Self::Fail,
            Effect::Unknown => Self::Unknown,
        }
    }
}

/// One request of one client, for one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// Who asked. A client asks one thing at a time.
    pub client: u64,
    /// Which node was asked; for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    pub key: String,
    /// What was asked; each model has its own words.
    pub op: String,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub argument: Value,
    /// The answer; null where there is none, or where what was asked for is absent.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub result: Value,
    /// Of what was written or read, or the current one where a precondition failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// The log index that the answer is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// Nanoseconds since the run began, on one monotonic clock for all clients.
    pub call_ns: u64,
    /// The same; `None` when no answer came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_ns: Option<u64>,
    pub outcome: Outcome,
    /// The code of the error, as in `ErrorCode`, or another system's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Operation {
    /// Whether it failed with this code.
    pub(super) fn failed_with(&self, code: ErrorCode) -> bool {
        self.outcome == Outcome::Fail && self.error.as_deref() == Some(code.as_str())
    }

    pub(super) fn check_times(&self) -> Result<(), String> {
        match self.return_ns {
            Some(return_ns) if return_ns < self.call_ns => Err("it returns before it is called".into()),
            None if self.outcome != Outcome::Unknown => {
                Err("without `return_ns` its outcome can only be unknown".into())
            }
            _ => Ok(()),
        }
    }
}

/// In short, as `write 3 -> ok (revision 7)`.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.op)?;
        if !self.argument.is_null() {
            write!(f, " {}", self.argument)?;
        }
        match (self.outcome, self.error.as_deref()) {
            (Outcome::Ok, _) if self.result.is_null() && self.op != "read" => f.write_str(" -> ok")?,
            (Outcome::Ok, _) => write!(f, " -> {}", self.result)?,
            (Outcome::Fail, error) => write!(f, " -> {}", error.unwrap_or("fail"))?,
            (Outcome::Unknown, _) => f.write_str(" -> unknown")?,
        }
        match (self.revision, self.index) {
            (Some(revision), Some(index)) => write!(f, " (revision {revision}, index {index})"),
            (Some(revision), None) => write!(f, " (revision {revision})"),
            (None, Some(index)) => write!(f, " (index {index})"),
            (None, None) => Ok(()),
        }
    }
}

/// What a single copy of a key would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelName {
    Register,
    Counter,
    List,
    Set,
    Ttl,
    Session,
    Walk,
}

/// How far from its time to live an entry may vanish, in the model `ttl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Milliseconds before it.
    pub early_ms: u64,
    /// Milliseconds after it.
    pub late_ms: u64,
}

/// The first line of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Always [`Header::FORMAT`].
    pub format: String,
    /// Always [`Header::VERSION`].
    pub version: u32,
    pub model: ModelName,
    /// For the model `ttl`, and only for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<Bounds>,
    /// Where the history is from, in any words: a seed, a command line.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub about: Map<String, Value>,
}

impl Header {
    pub const FORMAT: &str = "lockstep-history";
    pub const VERSION: u32 = 1;

    /// A header for a model other than `ttl`.
    pub fn new(model: ModelName) -> Self {
        let about = Map::new();
        Self { format: Self::FORMAT.into(), version: Self::VERSION, model, bounds: None, about }
    }

    /// A header for the model `ttl`.
    pub fn ttl(bounds: Bounds) -> Self {
        Self { bounds: Some(bounds), ..Self::new(ModelName::Ttl) }
    }

    fn check(&self) -> Result<(), String> {
        if self.format != Self::FORMAT {
            return Err(format!("the format is `{}`, not `{}`", self.format, Self::FORMAT));
        }
        if self.version != Self::VERSION {
            return Err(format!("version {} is not known, only {}", self.version, Self::VERSION));
        }
        if self.bounds.is_some() != (self.model == ModelName::Ttl) {
            return Err("`bounds` belong to the model `ttl`, and only there".into());
        }
        Ok(())
    }
}

/// A line that can't be read, or makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct HistoryError {
    /// Counted from 1.
    pub line: usize,
    pub what: String,
}

/// What clients asked and were answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    pub header: Header,
    /// In any order.
    pub operations: Vec<Operation>,
}

impl History {
    /// Reads JSON lines as [`super::HistoryWriter`] writes them, or the log of a Jepsen test of an etcd register;
    /// the first line tells which. Empty lines are skipped.
    ///
    /// # Errors
    /// A line can't be read, or asks for something that the model does not know.
    pub fn read(mut input: impl BufRead) -> Result<Self, HistoryError> {
        let mut text = String::new();
        if let Err(error) = input.read_to_string(&mut text) {
            return Err(HistoryError { line: text.lines().count() + 1, what: error.to_string() });
        }
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).peekable();
        match lines.peek() {
            None => Err(HistoryError { line: 1, what: "there is nothing, not even a header".into() }),
            Some((_, first)) if first.trim_start().starts_with('{') => Self::from_lines(lines),
            Some(_) => jepsen::read(lines),
        }
    }

    fn from_lines<'a>(mut lines: impl Iterator<Item = (usize, &'a str)>) -> Result<Self, HistoryError> {
        let at = |number: usize| move |what: String| HistoryError { line: number + 1, what };
        let (number, first) = lines.next().expect("the caller saw a line");
        let header: Header = serde_json::from_str(first).map_err(|error| at(number)(error.to_string()))?;
        header.check().map_err(at(number))?;
        let mut understand = models::sieve(&header);
        let operations = lines.map(|(number, line)| {
            let operation: Operation =
                serde_json::from_str(line).map_err(|error| at(number)(error.to_string()))?;
            operation.check_times().and_then(|()| understand(&operation)).map_err(at(number))?;
            Ok(operation)
        });
        let operations = operations.collect::<Result<_, HistoryError>>()?;
        Ok(Self { header, operations })
    }
}
