//! Answers of `GET /v1/changes` and `GET /v1/time`.

use super::batch::WireValue;
use super::kv::EntryMeta;
use crate::cache::Removal;
use serde::{Deserialize, Serialize};

/// What changed after an index, in the order of the newest change of each key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    pub changes: Vec<Change>,
    /// Give it as `since` to go on.
    pub next: u64,
    /// Whether there was more at that moment.
    pub more: bool,
    /// False if changes after `since` are no longer kept. Then none is here: read all keys instead, and go on from the index of
    /// that answer.
    pub complete: bool,
    /// Log index of the answer.
    pub index: u64,
}

/// What became of a key, or of several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Change {
    /// What a key has now.
    Key {
        key: String,
        found: bool,
        #[serde(flatten)]
        meta: Option<EntryMeta>,
        /// Bytes of the value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<u64>,
        /// If values were asked for, and the answer had room for it.
        #[serde(flatten)]
        value: Option<WireValue>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content_type: Option<String>,
        /// The last removal of a key that is absent, as far as it is remembered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gone: Option<Removal>,
    },
    /// All keys with the prefix were removed, and some may be there again: it goes for those with a lower revision.
    Cleared { prefix: String, gone: Removal },
}

/// Log time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTime {
    /// In milliseconds since the Unix epoch. Everything that was acknowledged before the request has an earlier or the same time.
    pub time_ms: u64,
    /// Log index of the answer.
    pub index: u64,
}
