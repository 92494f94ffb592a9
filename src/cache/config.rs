//! The replicated settings. Everything that steers eviction is here, and changes by a log entry only.

use super::CommandError;
use super::limits::{CAPACITY_ENTRIES_MAX, TTL_MS_MAX, TTL_MS_MIN};
use serde::{Deserialize, Serialize};

/// The cache's settings, equal on every node at equal index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheConfig {
    pub policy: Policy,
    /// Most entries, at least 1.
    pub capacity_entries: u64,
    /// Most bytes, counted as key + value + content type + [`super::limits::ENTRY_OVERHEAD_BYTES`].
    pub capacity_bytes: u64,
    /// TTL of a put that names none, in milliseconds; `None` lives for ever.
    pub default_ttl_ms: Option<u64>,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            policy: Policy::Lru,
            capacity_entries: 100_000,
            capacity_bytes: 1024 * 1024 * 1024,
            default_ttl_ms: None,
        }
    }
}

impl CacheConfig {
    /// Checks the settings' ranges.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] names the field and its range.
    pub fn check(&self) -> Result<(), CommandError> {
        let invalid =
            |field: &str, reason| Err(CommandError::Invalid { op: None, field: field.into(), reason });
        if !(1..=CAPACITY_ENTRIES_MAX).contains(&self.capacity_entries) {
            return invalid("capacity_entries", format!("it is 1 to {CAPACITY_ENTRIES_MAX}"));
        }
        if self.capacity_bytes == 0 {
            return invalid("capacity_bytes", "it is at least 1".into());
        }
        if self.default_ttl_ms.is_some_and(|ttl_ms| !(TTL_MS_MIN..=TTL_MS_MAX).contains(&ttl_ms)) {
            return invalid("default_ttl_ms", format!("it is {TTL_MS_MIN} to {TTL_MS_MAX} milliseconds"));
        }
        Ok(())
    }
}

/// Which entry goes when there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// The one written longest ago.
    Lru,
    /// None: a write that does not fit is refused.
    NoEviction,
}

impl Policy {
    /// The policy's number in snapshots and digests. Persisted: a number is never given to another policy.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Lru => 0,
            Self::NoEviction => 1,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Lru),
            1 => Some(Self::NoEviction),
            _ => None,
        }
    }
}
