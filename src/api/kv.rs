//! Bodies of the key routes.

use super::batch::WireValue;
use crate::cache::{Absence, EntryInfo, Found, Removal};
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
    #[serde(flatten)]
    pub meta: EntryMeta,
    /// Bytes of the value.
    pub bytes: u64,
    /// Where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<EntryDetails>,
}

/// What is known of an entry beside its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryMeta {
    /// Index of the log entry that last changed it.
    pub revision: u64,
    /// How many times it was written since it was created, from 1.
    pub version: u64,
    /// Log times, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    pub modified_at_ms: u64,
    /// Remaining TTL in milliseconds; `null` if the key does not expire.
    pub ttl_ms: Option<u64>,
    /// If uses restart the TTL, to how many milliseconds; `null` if they do not.
    pub sliding_ms: Option<u32>,
    /// The name that the client gave itself which stored the value (`Lockstep-Origin`).
    pub origin: Option<String>,
}

impl EntryMeta {
    /// At this log time.
    pub fn new(info: &EntryInfo, now_ms: u64) -> Self {
        Self {
            revision: info.revision,
            version: info.version,
            created_at_ms: info.created_at_ms,
            modified_at_ms: info.modified_at_ms,
            ttl_ms: info.expires_at_ms.map(|deadline| deadline.saturating_sub(now_ms)),
            sliding_ms: Some(info.sliding_ms).filter(|ms| *ms > 0),
            origin: info.origin.as_deref().map(str::to_owned),
        }
    }
}

/// A value in JSON, with all that is known of its entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueDetails {
    #[serde(flatten)]
    pub meta: EntryMeta,
    #[serde(flatten)]
    pub value: WireValue,
    pub content_type: Option<String>,
}

impl ValueDetails {
    /// At this log time.
    pub fn new(found: Found, now_ms: u64) -> Self {
        let Found { value, info } = found;
        let content_type = value.content_type.as_deref().map(str::to_owned);
        Self { meta: EntryMeta::new(&info, now_ms), value: value.bytes.into(), content_type }
    }
}

/// What is known of a key that is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbsentKey {
    /// Its last removal, if that is remembered.
    pub gone: Option<Removal>,
    /// Whether nothing is missing here: if `gone` is `null`, the key was never there.
    pub complete: bool,
}

impl From<Absence> for AbsentKey {
    fn from(absence: Absence) -> Self {
        Self { gone: absence.removal, complete: absence.is_complete() }
    }
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
    #[serde(flatten)]
    pub absent: Option<AbsentKey>,
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
