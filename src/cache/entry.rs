//! An entry: a record and its history, and what readers and eviction see of it.

use super::Value;
use super::limits::ENTRY_OVERHEAD_BYTES;
use super::record::Record;
use super::u48::U48;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU64;

/// A key and its value, with their history.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub record: Record,
    pub revision: U48,
    pub created_revision: U48,
    pub created_at_ms: U48,
    pub modified_at_ms: U48,
    /// Deadline in log time. It is never 0, because a TTL has at least 1 ms.
    pub deadline: Option<NonZeroU64>,
    /// When it was last used, by a counter that rises with each use; no two entries share one.
    pub recency: u64,
    /// Its place in its policy's order; only the policy knows what the number means.
    pub rank: u64,
    /// How many times it was written since it was created, up to the type's limit.
    pub version: u32,
    /// Each use moves the deadline to this many milliseconds after the use; 0 leaves it.
    pub sliding_ms: u32,
}

/// When an entry expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lifetime {
    /// In log time; `None` never expires.
    pub deadline: Option<NonZeroU64>,
    /// Each use moves the deadline to this many milliseconds after the use; 0 leaves it.
    pub sliding_ms: u32,
}

/// What eviction knows of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    pub recency: u64,
    pub frequency: u16,
    pub rank: u64,
    /// What it counts against the capacity in bytes.
    pub bytes: u64,
}

/// An entry as a reader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    pub value: Value,
    /// Index of the log entry that last changed it.
    pub revision: u64,
    /// Index of the log entry that created it.
    pub created_revision: u64,
    /// How many times it was written since it was created, from 1.
    pub version: u64,
    /// Log times in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    pub modified_at_ms: u64,
    /// Deadline in log time; `None` never expires.
    pub expires_at_ms: Option<u64>,
}

/// What an entry with this record counts against the capacity in bytes.
pub(super) fn entry_cost(record: &Record) -> u64 {
    record.cost() + ENTRY_OVERHEAD_BYTES
}

impl Lifetime {
    pub const FOREVER: Self = Self { deadline: None, sliding_ms: 0 };

    pub fn expires_at_ms(self) -> Option<u64> {
        self.deadline.map(NonZeroU64::get)
    }

    /// As a use at this time leaves it: only a deadline that slides moves.
    pub fn used_at(self, now_ms: u64) -> Self {
        match self.sliding_ms {
            0 => self,
            ms => Self { deadline: NonZeroU64::new(now_ms.saturating_add(u64::from(ms))), ..self },
        }
    }
}

impl Entry {
    pub fn cost(&self) -> u64 {
        entry_cost(&self.record)
    }

    pub fn lifetime(&self) -> Lifetime {
        Lifetime { deadline: self.deadline, sliding_ms: self.sliding_ms }
    }

    pub fn expires_at_ms(&self) -> Option<u64> {
        self.deadline.map(NonZeroU64::get)
    }

    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.deadline.is_some_and(|deadline| deadline.get() <= now_ms)
    }

    /// Notes a change by a log entry.
    pub fn changed(&mut self, revision: u64, now_ms: u64) {
        self.revision = revision.into();
        self.version = self.version.saturating_add(1);
        self.modified_at_ms = now_ms.into();
    }

    pub fn found(&self) -> Found {
        Found {
            value: self.record.value(),
            revision: self.revision.get(),
            created_revision: self.created_revision.get(),
            version: u64::from(self.version),
            created_at_ms: self.created_at_ms.get(),
            modified_at_ms: self.modified_at_ms.get(),
            expires_at_ms: self.expires_at_ms(),
        }
    }
}
