//! An entry: a record and its history, and what readers and eviction see of it.

use super::limits::ENTRY_OVERHEAD_BYTES;
use super::record::Record;
use super::short_int::{U48, U56};
use super::{Kind, Value};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU64;
use std::sync::Arc;

/// A key and its value, with their history.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub record: Record,
    pub revision: U56,
    pub created_revision: U56,
    pub created_at_ms: U48,
    pub modified_at_ms: U48,
    /// Deadline in log time; 0 for none, because a TTL has at least 1 ms.
    deadline: U48,
    /// When it was last used, by a counter that rises with each use; no two entries share one.
    pub recency: U48,
    /// Its place in its policy's order; only the policy knows what the number means.
    pub rank: U56,
    /// How often it was used, up to the type's limit.
    pub frequency: u16,
    /// The number of the policy whose order has it.
    pub policy: u8,
    /// How many times it was written since it was created, up to the type's limit.
    pub version: u32,
    /// Each use moves the deadline to this many milliseconds after the use; 0 leaves it.
    pub sliding_ms: u32,
}

// No byte is padding, and a slot adds four.
const _: () = assert!(size_of::<Option<Entry>>() == 68 && align_of::<Entry>() == 4);

/// The latest deadline. Later ones are brought to it.
pub(super) const DEADLINE_MAX_MS: u64 = U48::MAX;

/// When an entry expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lifetime {
    /// In log time, at most [`DEADLINE_MAX_MS`]; `None` never expires.
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
    pub info: EntryInfo,
}

/// What a reader sees of an entry beside its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryInfo {
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
    /// Each use moves the deadline to this many milliseconds after the use; 0 leaves it.
    pub sliding_ms: u32,
    /// The name that the client gave itself which stored the value.
    pub origin: Option<Arc<str>>,
}

/// What is known of a key beside its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    pub entry: EntryInfo,
    /// Length of the value.
    pub bytes: u64,
    pub kind: Kind,
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
            ms => {
                let deadline = now_ms.saturating_add(u64::from(ms)).min(DEADLINE_MAX_MS);
                Self { deadline: NonZeroU64::new(deadline), ..self }
            }
        }
    }
}

impl Entry {
    /// A new entry, which was used once and is in no order yet.
    pub fn new(record: Record, lifetime: Lifetime, revision: u64, now_ms: u64, recency: u64) -> Self {
        Self {
            record,
            revision: revision.into(),
            created_revision: revision.into(),
            created_at_ms: now_ms.into(),
            modified_at_ms: now_ms.into(),
            deadline: lifetime.expires_at_ms().unwrap_or(0).into(),
            recency: recency.into(),
            rank: 0.into(),
            frequency: 1,
            policy: 0,
            version: 1,
            sliding_ms: lifetime.sliding_ms,
        }
    }

    pub fn cost(&self) -> u64 {
        entry_cost(&self.record)
    }

    pub fn lifetime(&self) -> Lifetime {
        Lifetime { deadline: NonZeroU64::new(self.deadline.get()), sliding_ms: self.sliding_ms }
    }

    pub fn set_lifetime(&mut self, lifetime: Lifetime) {
        self.deadline = lifetime.expires_at_ms().unwrap_or(0).into();
        self.sliding_ms = lifetime.sliding_ms;
    }

    pub fn expires_at_ms(&self) -> Option<u64> {
        self.lifetime().expires_at_ms()
    }

    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_at_ms().is_some_and(|deadline| deadline <= now_ms)
    }

    /// Notes a change by a log entry.
    pub fn changed(&mut self, revision: u64, now_ms: u64) {
        self.revision = revision.into();
        self.version = self.version.saturating_add(1);
        self.modified_at_ms = now_ms.into();
    }

    pub fn key_info(&self) -> KeyInfo {
        let (entry, bytes) = (self.info(), self.record.bytes().len() as u64);
        KeyInfo { entry, bytes, kind: self.record.kind() }
    }

    pub fn found(&self) -> Found {
        Found { value: self.record.value(), info: self.info() }
    }

    pub fn info(&self) -> EntryInfo {
        EntryInfo {
            revision: self.revision.get(),
            created_revision: self.created_revision.get(),
            version: u64::from(self.version),
            created_at_ms: self.created_at_ms.get(),
            modified_at_ms: self.modified_at_ms.get(),
            expires_at_ms: self.expires_at_ms(),
            sliding_ms: self.sliding_ms,
            origin: self.record.origin().map(Arc::from),
        }
    }
}
