//! Entries with all of their history, for those who compare two states. They include what has expired and is not removed yet.

use super::entry::Entry;
use super::snapshot::{RestoreError, some_entries};
use super::{Cache, Record};
use std::io::BufRead;

/// An entry.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Key, content type and value.
    pub record: Record,
    /// Index of the log entry that last changed it.
    pub revision: u64,
    pub created_revision: u64,
    /// How many times it was written since it was created.
    pub version: u64,
    /// Log time of its last change, in milliseconds since the Unix epoch.
    pub modified_at_ms: u64,
    /// Deadline in log time; `None` never expires.
    pub expires_at_ms: Option<u64>,
    /// Each use moves the deadline to so many milliseconds after the use; 0 leaves it.
    pub sliding_ms: u32,
}

impl Stored {
    fn of(entry: &Entry) -> Self {
        Self {
            record: entry.record.clone(),
            revision: entry.revision.get(),
            created_revision: entry.created_revision.get(),
            version: u64::from(entry.version),
            modified_at_ms: entry.modified_at_ms.get(),
            expires_at_ms: entry.expires_at_ms(),
            sliding_ms: entry.sliding_ms,
        }
    }
}

impl Stored {
    /// Those entries of a snapshot whose keys are wanted, in any order: it takes no more memory than they do.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn in_snapshot(
        bytes: impl BufRead,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<Self>, RestoreError> {
        Ok(some_entries(bytes, wanted)?.iter().map(Self::of).collect())
    }
}

impl Cache {
    /// The entry of a key, expired or not.
    pub fn stored(&self, key: &str) -> Option<Stored> {
        self.store.find(key).map(|(_, entry)| Stored::of(entry))
    }

    /// All entries, expired or not, in the order of their keys.
    pub fn all_stored(&self) -> impl Iterator<Item = Stored> {
        self.store.range("", None).map(|(_, entry)| Stored::of(entry))
    }
}
