//! Why a key is not there.

use serde::{Deserialize, Serialize};

/// How a key was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RemovalCause {
    Delete,
    /// A clear of all keys with one of its prefixes, or of all.
    Clear,
    Expire,
    Evict,
}

/// The last removal of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    pub cause: RemovalCause,
    /// Index of the log entry that removed it.
    pub revision: u64,
    /// Log time of that entry, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// What is known about a key that is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absence {
    /// Its last removal; `None` if there was none, or it may be forgotten: an older one is never named in its place. A key that
    /// was never there can be covered by a clear.
    pub removal: Option<Removal>,
    /// A removal of this key after this log index is known; 0 if its last one is, whenever it was.
    pub known_after: u64,
}

impl Absence {
    /// Whether it is certain that the key was at no time present after this log index.
    pub fn is_since(&self, index: u64) -> bool {
        self.known_after <= index && self.removal.is_none_or(|removal| removal.revision <= index)
    }

    /// Whether a removal that is not named was none, rather than forgotten.
    pub fn is_complete(&self) -> bool {
        self.removal.is_some() || self.known_after == 0
    }
}
