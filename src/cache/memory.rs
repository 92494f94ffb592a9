//! How much memory a cache takes, from the sizes and numbers of what it holds. No figure needs a walk over the entries.

/// Bytes of memory, by what holds them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheMemory {
    /// Entries with their keys and values, and the free places between them.
    pub entries: u64,
    /// The order of the keys, the deadlines, and the eviction orders with their ghosts.
    pub indexes: u64,
    /// What is remembered of requests and keys that are gone: results of idempotency keys, tombstones, and
    /// what open forks note.
    pub remembered: u64,
    /// What only snapshots that are being written still hold.
    pub snapshots: u64,
}

/// What a B-tree of this many items takes: its nodes are about two thirds full, and have eleven places.
pub(super) fn in_tree<T>(items: u64) -> u64 {
    items * (size_of::<T>() as u64 * 3 / 2 + 2)
}
