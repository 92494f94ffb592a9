//! What those who watch are told, over server-sent events and WebSocket alike.

use super::batch::WireValue;
use super::cluster::ConfigBody;
use serde::{Deserialize, Serialize};

/// One message to a watcher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Told {
    /// The first, unless a `resync` is: changes after `index` follow. Indexes mean something within this cluster and incarnation only.
    Subscribed { index: u64, cluster_id: String, incarnation: u64 },
    /// What one log entry changed, all of it that is watched; `at_ms` is log time.
    Change {
        index: u64,
        at_ms: u64,
        /// The node whose client asked for it; absent for what the cluster does by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<u64>,
        events: Vec<WireEvent>,
    },
    /// Up to `index` there was nothing else.
    Bookmark { index: u64 },
    /// What came after `from` is no longer known: read again, from a state of `index` or later. Changes after that follow.
    Resync { from: u64, index: u64 },
    /// The last: whoever watches on from `resume`, here or on another node, misses nothing.
    Cut { resume: u64, reason: String },
}

impl Told {
    /// The place to watch on from, once this was told.
    pub fn index(&self) -> u64 {
        match self {
            Self::Subscribed { index, .. }
            | Self::Change { index, .. }
            | Self::Bookmark { index }
            | Self::Resync { index, .. }
            | Self::Cut { resume: index, .. } => *index,
        }
    }

    /// Its `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Subscribed { .. } => "subscribed",
            Self::Change { .. } => "change",
            Self::Bookmark { .. } => "bookmark",
            Self::Resync { .. } => "resync",
            Self::Cut { .. } => "cut",
        }
    }
}

/// One thing that happened, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "lowercase")]
pub enum WireEvent {
    /// Stored. `bytes` is the value's length; the value is there if it was asked for.
    Put {
        key: String,
        created: bool,
        bytes: u64,
        #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
        value: Option<WireValue>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content_type: Option<String>,
        /// In log time; without it the entry lives for ever.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at_ms: Option<u64>,
    },
    /// The time to live changed, not the value.
    Lifetime {
        key: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at_ms: Option<u64>,
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
    /// All keys with the prefix, or all, were removed at once; `removed` of them, watched or not.
    Clear {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prefix: Option<String>,
        removed: u64,
    },
    /// The settings are these now.
    Config {
        config: ConfigBody,
    },
}

/// What a client asks for on `/v1/live`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum LiveRequest {
    Subscribe(Subscribe),
    /// The subscription of this `id` ends.
    Unsubscribe(String),
}

/// A subscription. Its `id` comes with every message that belongs to it.
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
    /// Whether values come along.
    #[serde(default = "yes")]
    pub values: bool,
}

fn yes() -> bool {
    true
}

/// A message on `/v1/live`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LiveMessage {
    /// What a subscription is told.
    Told {
        id: String,
        #[serde(flatten)]
        told: Told,
    },
    /// An answer to a request.
    Answer(LiveAnswer),
}

/// What became of a request that brings nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum LiveAnswer {
    Unsubscribed {
        id: String,
    },
    /// It was not carried out. Codes are those of the error table.
    Refused {
        id: String,
        code: String,
        detail: String,
    },
}
