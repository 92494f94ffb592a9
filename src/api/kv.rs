//! Bodies of the key routes.

use super::batch::WireValue;
use serde::{Deserialize, Serialize};

/// The consistency level of a read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// Returns every write that was acknowledged before the read started.
    #[default]
    Linearizable,
    /// The same, if no clock runs much faster than another.
    Lease,
    /// Returns what this node has applied, however old that is.
    Stale,
    /// Returns every write to this node, which has left the cluster on purpose and goes on alone: the cluster may have
    /// another value.
    Detached,
}

impl Consistency {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Linearizable => "linearizable",
            Self::Lease => "lease",
            Self::Stale => "stale",
            Self::Detached => "detached",
        }
    }
}

/// Body of `POST /v1/kv/{key}/incr`; everything is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IncrRequest {
    /// Added to the counter; 1 when absent.
    pub by: Option<i64>,
    /// What an absent counter starts at before `by` is added; 0 when absent.
    pub initial: Option<i64>,
    /// TTL of a counter that is created.
    pub ttl_ms: Option<u64>,
    /// Whether uses restart that TTL.
    pub sliding: bool,
}

/// Answer of `incr`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    pub value: i64,
    pub revision: u64,
    pub created: bool,
}

/// Body of `POST /v1/kv/{key}/expire`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpireRequest {
    pub ttl_ms: u64,
    /// Whether uses restart that TTL.
    #[serde(default)]
    pub sliding: bool,
}

/// Answer of `expire` and `persist`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    pub revision: u64,
    /// Remaining TTL in milliseconds; `null` if the key does not expire.
    pub ttl_ms: Option<u64>,
}

/// One key of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEntry {
    pub key: String,
    pub revision: u64,
    /// Bytes of the value.
    pub bytes: u64,
    /// Remaining TTL in milliseconds; `null` if the key does not expire.
    pub ttl_ms: Option<u64>,
    /// Where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<EntryDetails>,
}

/// A value in JSON, with all that is known of its entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueDetails {
    /// Index of the log entry that last changed it.
    pub revision: u64,
    /// Remaining TTL in milliseconds; `null` if the key does not expire.
    pub ttl_ms: Option<u64>,
    #[serde(flatten)]
    pub value: WireValue,
    pub content_type: Option<String>,
    /// How many times it was written since it was created, from 1.
    pub version: u64,
    /// Log times, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    pub modified_at_ms: u64,
}

/// Body of `POST /v1/get`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetMany {
    pub keys: Vec<String>,
}

/// What one key has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GotKey {
    pub found: bool,
    #[serde(flatten)]
    pub entry: Option<ValueDetails>,
}

/// Answer of `POST /v1/get`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GotMany {
    /// In the order of the keys, all at one moment.
    pub results: Vec<GotKey>,
    /// The position of the first key that did not fit; `null` if all did.
    pub next: Option<usize>,
    /// Log index of that moment.
    pub index: u64,
}

/// An entry of a page, with its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub key: String,
    #[serde(flatten)]
    pub entry: ValueDetails,
}

/// A page of entries, in the byte order of their keys: answer of `GET /v1/keys?values=true`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryPage {
    pub entries: Vec<Entry>,
    /// Give it as `after` for the next page; `null` on the last one.
    pub next: Option<String>,
    /// Log index of the page.
    pub index: u64,
}

/// Details of a key in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryDetails {
    /// The value's beginning; the whole value if it has no more bytes.
    pub preview: WireValue,
    pub content_type: Option<String>,
    /// Log time of the last change.
    pub modified_at_ms: u64,
    /// How often it was used, as far as that is in the log; up to 65,535.
    pub uses: u64,
    /// The node whose client requested the last change; `null` if that is no longer known.
    pub by: Option<u64>,
}

/// A page of keys, in byte order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPage {
    pub keys: Vec<KeyEntry>,
    /// Give it as `after` for the next page; `null` on the last one.
    pub next: Option<String>,
    /// Log index of the listing.
    pub index: u64,
}

/// Answer of a clear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cleared {
    pub removed: u64,
    pub revision: u64,
}
