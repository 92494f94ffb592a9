//! `/v1/reconcile`: the steps by which the changes of another side of a fork come in.

use crate::cache::{Fork, Merge, MergeEnd, MergeResult};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A step of a merge: one log entry, applied once, however often it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergeStepRequest {
    /// Names the merge: 1 to 64 bytes, the same in all its steps.
    pub merge: String,
    /// Id of the history whose changes come in.
    pub history: String,
    /// Which step it is, from 0.
    pub step: u64,
    /// Up to which index that history was decided when the plan was made.
    #[serde(default)]
    pub after: u64,
    /// The index of this cluster's log that the plan is of: what went since is not taken for absent. 0: whatever is known to have
    /// gone is not.
    #[serde(default)]
    pub planned_at: u64,
    /// At most 1,024, each for another key.
    #[serde(default)]
    pub ops: Vec<MergeOpRequest>,
    /// In the last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<MergeEndRequest>,
}

/// How a merge ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeEndRequest {
    /// All that the other side did up to this index has been decided.
    UpTo(u64),
    /// It is given up. What has come in stays.
    Aborted,
    /// The other side will not come back: what was noted for it is dropped.
    Forgotten,
}

/// One key, and what is expected there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "MergeOpFields")]
pub struct MergeOpRequest {
    pub key: String,
    pub guard: MergeGuardRequest,
    #[serde(flatten)]
    pub change: MergeChangeRequest,
}

/// What must hold, or nothing is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeGuardRequest {
    /// The key is absent.
    Absent,
    /// Its revision is this one.
    Revision(u64),
    /// It is there.
    Present,
}

/// What is done to a key. Times are log times of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum MergeChangeRequest {
    /// Stores a value: text in `value`, or base64 in `value_base64`.
    Put {
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        value_base64: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        content_type: Option<String>,
        #[serde(flatten)]
        times: MergeTimesRequest,
    },
    /// Removes the key; its tombstone gets this time.
    Remove { at_ms: u64 },
    /// Leaves a tombstone where nothing is.
    Bury { at_ms: u64 },
    /// The value stays.
    SetTimes(MergeTimesRequest),
    /// Adds to a counter.
    Add { by: i64 },
}

/// When an entry was changed, and when it expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MergeTimesRequest {
    /// When it was changed on the other side.
    pub at_ms: u64,
    /// How many times it was written since it was created; 1 if it is left out.
    pub version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
    #[serde(skip_serializing_if = "is_zero")]
    pub sliding_ms: u32,
}

/// The fields of any [`MergeOpRequest`]. Serde would copy the fields of flattened structs before it reads them, and a step has
/// a thousand.
#[derive(Deserialize)]
struct MergeOpFields {
    key: String,
    guard: MergeGuardRequest,
    op: MergeOpName,
    value: Option<String>,
    value_base64: Option<String>,
    content_type: Option<String>,
    at_ms: Option<u64>,
    version: Option<u32>,
    expires_at_ms: Option<u64>,
    #[serde(default)]
    sliding_ms: u32,
    by: Option<i64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum MergeOpName {
    Put,
    Remove,
    Bury,
    SetTimes,
    Add,
}

impl TryFrom<MergeOpFields> for MergeOpRequest {
    type Error = &'static str;

    fn try_from(fields: MergeOpFields) -> Result<Self, Self::Error> {
        let MergeOpFields { key, guard, op, value, value_base64, content_type, version, by, .. } = fields;
        let at_ms = fields.at_ms.ok_or("missing field `at_ms`");
        let times = |at_ms| MergeTimesRequest {
            at_ms,
            version: version.unwrap_or(1),
            expires_at_ms: fields.expires_at_ms,
            sliding_ms: fields.sliding_ms,
        };
        let change = match op {
            MergeOpName::Put => {
                MergeChangeRequest::Put { value, value_base64, content_type, times: times(at_ms?) }
            }
            MergeOpName::Remove => MergeChangeRequest::Remove { at_ms: at_ms? },
            MergeOpName::Bury => MergeChangeRequest::Bury { at_ms: at_ms? },
            MergeOpName::SetTimes => MergeChangeRequest::SetTimes(times(at_ms?)),
            MergeOpName::Add => MergeChangeRequest::Add { by: by.ok_or("missing field `by`")? },
        };
        Ok(Self { key, guard, change })
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Answer of `POST /v1/reconcile`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeStepAnswer {
    pub revision: u64,
    /// What became of each operation, in order.
    pub results: Vec<MergeResult>,
}

/// Answer of `GET /v1/reconcile`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciliations {
    /// The newest 64, in the order in which they began.
    pub merges: Vec<MergeStatus>,
    /// Other sides for which it is noted which common entries go.
    pub forks: Vec<ForkStatus>,
    /// Up to which index of its log each history is decided.
    pub decided: BTreeMap<String, u64>,
}

/// How far a merge is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeStatus {
    pub id: String,
    pub history: String,
    /// The step that is due.
    pub next_step: u64,
    /// `null` as long as it goes on.
    pub end: Option<MergeEndRequest>,
    /// Operations by what became of them.
    pub done: u64,
    pub changed: u64,
    pub full: u64,
    pub invalid: u64,
    /// What became of the operations of the newest steps, of up to four, in order.
    pub recent_results: Vec<Vec<MergeResult>>,
}

/// What is noted for a history on the other side of a fork.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkStatus {
    pub history: String,
    /// What went after this index is noted.
    pub since: u64,
    /// Entries that were created up to this index may be common ones; `null` as long as the node that begins that history
    /// has not left.
    pub limit: Option<u64>,
    /// Keys of common entries that are gone.
    pub noted: u64,
    /// Whether all of them were noted.
    pub complete: bool,
}

impl From<&Merge> for MergeStatus {
    fn from(merge: &Merge) -> Self {
        let Merge { id, history, next_step, end, results, recent_results, .. } = merge.clone();
        let [done, changed, full, invalid] = results;
        let end = end.map(|end| match end {
            MergeEnd::UpTo(index) => MergeEndRequest::UpTo(index),
            MergeEnd::Aborted => MergeEndRequest::Aborted,
            MergeEnd::Forgotten => MergeEndRequest::Forgotten,
        });
        let recent_results = recent_results.into();
        Self { id, history, next_step, end, done, changed, full, invalid, recent_results }
    }
}

impl From<&Fork> for ForkStatus {
    fn from(fork: &Fork) -> Self {
        let (history, since) = (fork.history.clone(), fork.since);
        let limit = fork.leaving.is_none().then_some(fork.limit);
        Self { history, since, limit, noted: fork.len(), complete: fork.is_complete() }
    }
}
