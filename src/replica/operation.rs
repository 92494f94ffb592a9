//! The newest operations, in a short form that outlives the change log: without large values. Snapshots contain them,
//! so a node still has them after a restart.

use super::change_log::ChangeSet;
use crate::cache::{CacheConfig, Cause, Event, Key, Value};
use serde::{Deserialize, Serialize};

/// How many operations are kept.
pub const RECENT_MAX: usize = 100;
/// Values of more bytes are omitted.
const VALUE_BYTES_MAX: usize = 1_024;

/// One event of a [`ChangeSet`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Index of the log entry.
    pub index: u64,
    /// Which of the entry's events it is, from 0.
    pub position: u32,
    /// Log time, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The node whose client requested it; `None` for what the cluster does by itself.
    pub by: Option<u64>,
    pub kind: OperationKind,
}

/// What happened: [`Event`] in the form that snapshots contain, so its variants and their order are a format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperationKind {
    /// Stored; `value` is `None` when it is longer than a kilobyte.
    Put {
        key: Key,
        value: Option<Value>,
        bytes: u64,
        created: bool,
    },
    Deadline {
        key: Key,
        expires_at_ms: Option<u64>,
    },
    Removed {
        key: Key,
        cause: Cause,
    },
    Cleared {
        prefix: Option<String>,
        removed: u64,
    },
    Configured {
        config: CacheConfig,
        policy_changed: bool,
    },
}

impl Operation {
    /// The operations of a change set, newest first.
    pub fn of(change: &ChangeSet) -> impl Iterator<Item = Self> {
        let (index, at_ms, by) = (change.index(), change.at_ms(), change.by());
        change.events().iter().enumerate().rev().filter_map(move |(position, event)| {
            let position = u32::try_from(position).unwrap_or(u32::MAX);
            Some(Self { index, position, at_ms, by, kind: OperationKind::of(event)? })
        })
    }
}

impl OperationKind {
    /// `None` for what is no change of the cache, and for what says only where the other events come from.
    fn of(event: &Event) -> Option<Self> {
        Some(match event {
            Event::Put { record, created, .. } => {
                let value = record.value();
                let bytes = value.bytes.len();
                let value = (bytes <= VALUE_BYTES_MAX).then_some(value);
                Self::Put { key: record.to_key(), value, bytes: bytes as u64, created: *created }
            }
            Event::Deadline { key, expires_at_ms, .. } => {
                Self::Deadline { key: key.clone(), expires_at_ms: *expires_at_ms }
            }
            Event::Removed { key, cause } => Self::Removed { key: key.clone(), cause: *cause },
            Event::Cleared { prefix, removed } => Self::Cleared { prefix: prefix.clone(), removed: *removed },
            Event::Configured { config, policy_changed } => {
                Self::Configured { config: (**config).clone(), policy_changed: *policy_changed }
            }
            Event::Merged { .. }
            | Event::SessionOpened { .. }
            | Event::SessionEnded { .. }
            | Event::Locked { .. }
            | Event::Unlocked { .. }
            | Event::Message { .. } => return None,
        })
    }
}
