//! What one side knows of one key.

/// An entry, without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Index of the log entry that last changed it, in its own history.
    pub revision: u64,
    pub created_revision: u64,
    /// How many times it was written since it was created.
    pub version: u64,
    /// Log time of its last change, in milliseconds since the Unix epoch.
    pub stamp_ms: u64,
    pub lifetime: Lifetime,
    /// Of its value and content type. Entries of one key with equal hashes have equal values.
    pub hash: u128,
    /// The value, where it is a counter.
    pub number: Option<i64>,
}

/// When an entry expires. The greater one wins where all else is equal: never, then later, then sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lifetime {
    /// In log time; [`Lifetime::NEVER_MS`] for never.
    pub expires_at_ms: u64,
    /// Each use moves the deadline to so many milliseconds after the use; 0 leaves it.
    pub sliding_ms: u32,
}

impl Lifetime {
    pub const NEVER_MS: u64 = u64::MAX;
    pub const FOREVER: Self = Self { expires_at_ms: Self::NEVER_MS, sliding_ms: 0 };
}

/// What has become of a key on one side since the fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its entry is the one that both sides had.
    Unchanged(Entry),
    /// Its entry was written on this side.
    Changed(Entry),
    /// A client removed it, at this log time.
    Deleted { stamp_ms: u64 },
    /// It was changed at this log time, and then evicted, or has expired: the old value must not come back, and the new one
    /// is gone.
    Lost { stamp_ms: u64 },
    /// It is not there, and nobody wished that: it was never there, or was evicted unchanged.
    Absent,
    /// It is not there, and the side cannot tell why. Removals that it has forgotten happened by `forgotten_ms`.
    Unknown { forgotten_ms: u64 },
}

/// One side's knowledge of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Knowledge {
    pub fate: Fate,
    /// Whether there was an entry when the sides parted. `None`: this side cannot tell.
    pub was_common: Option<bool>,
    /// What became of it came in from the other side, with an earlier merge: this side itself has wished nothing since.
    pub is_merged: bool,
}
