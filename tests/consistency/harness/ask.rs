//! What a client asks of a node and what it is told, whichever protocol it speaks: the seam between the workloads and
//! [`super::http`] and [`super::redis`].

use super::http::Ask;
use lockstep::check::Outcome;
use serde_json::Value;

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http,
    Redis,
}

impl Protocol {
    pub const ALL: [Self; 2] = [Self::Http, Self::Redis];

    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Redis => "redis",
        }
    }
}

/// A request. Its answer, where it is ok, is told with each.
#[derive(Debug, Clone)]
pub enum Request {
    /// The value as text, or null.
    Get { key: String, level: Level },
    /// The same, by whoever is about to write over it with [`Condition::Watched`] or over what it found.
    GetToChange { key: String },
    /// Null. It fails with `precondition_failed` or `conflict`.
    Put { key: String, value: String, condition: Condition, ttl_ms: Option<u64>, sliding: bool },
    /// Null. It fails with `not_found`.
    Delete { key: String },
    /// The sum. With an id it is carried out once, however often it is sent.
    Add { key: String, by: i64, id: Option<String> },
    /// Null. It fails with `not_found`.
    Expire { key: String, ttl_ms: u64 },
    /// Milliseconds that are left of a lifetime, or null without a key. Redis only.
    Left { key: String },
    /// What follows the prefix in the keys that begin with it: all of one moment, or as a walk finds them.
    Members { prefix: String, walk: bool },
    /// Their values of one moment: texts or nulls.
    GetAll { keys: Vec<String> },
    /// Null. The same value for all, under a condition on one of them.
    PutAll { keys: Vec<String>, value: String, condition: Condition, on: usize },
    /// Reads a key, writes another one for half a second, and adds 2 to a third: all at once. Some text.
    Mix { read: String, put: String, add: String },
    /// What only HTTP has. Some text.
    Http(Ask),
}

/// How new a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Linearizable,
    Lease,
    /// As new as this index. HTTP only.
    Stale(u64),
}

/// What must hold for a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    Always,
    /// The key is at this revision, or absent. HTTP only.
    Revision(Option<u64>),
    /// The key has this value, or is absent. Redis only.
    Value(Option<String>),
    /// The key is as [`Request::GetToChange`] found it, on the same connection. Redis only.
    Watched,
}

impl Request {
    pub fn get(key: impl Into<String>) -> Self {
        Self::Get { key: key.into(), level: Level::Linearizable }
    }

    /// Without a condition or a lifetime.
    pub fn put(key: impl Into<String>, value: impl ToString) -> Self {
        Self::put_if(key, value, Condition::Always)
    }

    pub fn put_if(key: impl Into<String>, value: impl ToString, condition: Condition) -> Self {
        let (key, value) = (key.into(), value.to_string());
        Self::Put { key, value, condition, ttl_ms: None, sliding: false }
    }

    /// Whether Redis has a single command for it, so that it can be part of a pipeline.
    pub fn is_one_command(&self) -> bool {
        super::redis::command(self, 0).is_some()
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub outcome: Outcome,
    /// The code of the error, or how the answer was lost.
    pub error: Option<String>,
    /// As the request says.
    pub answer: Value,
    /// Of what was read or written, or the current one that a failed precondition tells of.
    pub revision: Option<u64>,
    /// The log index that the answer is from.
    pub index: Option<u64>,
}

impl Reply {
    pub fn ok(answer: impl Into<Value>) -> Self {
        Self { outcome: Outcome::Ok, error: None, answer: answer.into(), revision: None, index: None }
    }

    pub fn without(outcome: Outcome, error: &str) -> Self {
        let error = Some(error.to_owned());
        Self { outcome, error, answer: Value::Null, revision: None, index: None }
    }

    pub fn is_ok(&self) -> bool {
        self.outcome == Outcome::Ok
    }

    pub fn failed_with(&self, code: &str) -> bool {
        self.outcome == Outcome::Fail && self.error.as_deref() == Some(code)
    }
}
