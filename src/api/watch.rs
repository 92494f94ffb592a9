//! Messages to watchers, the same over server-sent events and WebSockets.

use super::batch::WireValue;
use super::cluster::{ConfigBody, HistoryName};
use super::error::ErrorCode;
use serde::{Deserialize, Serialize};

/// One message to a watcher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum WatchMessage {
    /// The first message, unless a `resync` is; `at_ms` is log time now, as in others. Changes after `index` follow. Indexes are valid for this history of
    /// this cluster only.
    Subscribed { index: u64, at_ms: u64, cluster_id: String, history: HistoryName },
    /// All watched changes of one log entry; `at_ms` is log time.
    Change {
        index: u64,
        at_ms: u64,
        /// The node whose client requested it; absent for changes that the cluster makes by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<u64>,
        /// The id of a history: a merge brought these changes in from the other side of a fork.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        merged_from: Option<String>,
        /// The name that the client gave itself, and the one that it gave the request: so it recognises its own changes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        origin: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        idempotency_key: Option<String>,
        events: Vec<WireEvent>,
    },
    /// There were no other changes up to `index`, and none that was acknowledged before log time `at_ms`.
    Bookmark { index: u64, at_ms: u64 },
    /// Changes after `from` are missing. Read a state of index `index` or later; the changes after `index` follow.
    Resync { from: u64, index: u64, at_ms: u64 },
    /// The last message. A watch that continues from `resume`, on this node or another, misses nothing.
    #[serde(rename = "cut")]
    Closed {
        resume: u64,
        reason: String,
        /// Why it must not go on as it is: `unauthorized` or `forbidden`, or not at this node: `unavailable`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<ErrorCode>,
    },
}

impl WatchMessage {
    /// The cursor after this message.
    pub fn index(&self) -> u64 {
        match self {
            Self::Subscribed { index, .. }
            | Self::Change { index, .. }
            | Self::Bookmark { index, .. }
            | Self::Resync { index, .. }
            | Self::Closed { resume: index, .. } => *index,
        }
    }

    /// Its `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Subscribed { .. } => "subscribed",
            Self::Change { .. } => "change",
            Self::Bookmark { .. } => "bookmark",
            Self::Resync { .. } => "resync",
            Self::Closed { .. } => "cut",
        }
    }
}

/// One event, and its cause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "lowercase")]
pub enum WireEvent {
    /// A value was stored. `bytes` is its length; the value is there if it was asked for.
    Put {
        key: String,
        created: bool,
        bytes: u64,
        #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
        value: Option<WireValue>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content_type: Option<String>,
        /// In log time; absent if the entry does not expire.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at_ms: Option<u64>,
        /// If uses restart the TTL, to how many milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sliding_ms: Option<u32>,
        /// How many times it was written since it was created, from 1.
        version: u32,
        /// Log times. After a merge, the change may be older than its log entry.
        created_at_ms: u64,
        modified_at_ms: u64,
    },
    /// The TTL changed, not the value.
    Lifetime {
        key: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at_ms: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sliding_ms: Option<u32>,
    },
    Delete {
        key: String,
    },
    Expire {
        key: String,
    },
    Evict {
        key: String,
    },
    /// All keys, or all with the prefix, were removed at once: `removed` keys, watched or not.
    Clear {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prefix: Option<String>,
        removed: u64,
    },
    /// The settings were changed to these.
    Config {
        config: ConfigBody,
    },
    /// A client session was opened.
    Session {
        id: u64,
        name: String,
        ttl_ms: u64,
    },
    /// It has ended. Its locks were released before.
    #[serde(rename = "session_end")]
    SessionEnd {
        id: u64,
        name: String,
        why: SessionEndCause,
    },
    /// A session acquired a lock.
    Lock {
        name: String,
        session: u64,
        token: u64,
    },
    /// The lock with this token is no longer held.
    Unlock {
        name: String,
        session: u64,
        token: u64,
    },
}

/// Why a client session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionEndCause {
    /// Its client ended it.
    Closed,
    /// It was not renewed in time.
    Expired,
}

/// What a client asks for on `/v1/live`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum LiveRequest {
    Subscribe(Subscribe),
    /// Ends the subscription with this `id`.
    Unsubscribe(String),
}

/// A subscription. Each of its messages has its `id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    #[serde(default)]
    pub id: String,
    /// Only keys that start with this.
    #[serde(default)]
    pub prefix: String,
    /// Changes after this index; after now, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Whether messages contain values.
    #[serde(default = "yes")]
    pub values: bool,
    /// Whether it is cut first when a node has too many watchers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub low_priority: bool,
}

fn yes() -> bool {
    true
}

/// A message on `/v1/live`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LiveMessage {
    /// A message of a subscription.
    Watch {
        id: String,
        #[serde(flatten)]
        message: WatchMessage,
    },
    /// The answer to a request.
    Answer(LiveAnswer),
}

/// The answer to a request that was refused, or that ended a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum LiveAnswer {
    Unsubscribed {
        id: String,
    },
    /// The request was not carried out. Codes are those of the error table.
    Refused {
        id: String,
        code: String,
        detail: String,
    },
}
