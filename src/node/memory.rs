//! The memory that a node takes, by what holds it.

use super::inner::Inner;
use crate::cache::CacheMemory;
use crate::storage::LogMemory;

/// Bytes of memory that one part of a process takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPart {
    /// Its name in `/metrics`.
    pub name: &'static str,
    pub bytes: u64,
}

/// Counted from the sizes and numbers of what each part holds, without a walk over the entries.
pub(super) fn parts(node: &Inner) -> Vec<MemoryPart> {
    let replica = node.consensus.replica();
    let CacheMemory { entries, indexes, remembered, snapshots } = replica.with_cache(|cache| cache.memory());
    let LogMemory { recent, index, database } = node.store.memory();
    [
        ("entries", entries),
        ("indexes", indexes),
        ("remembered", remembered),
        ("snapshots", snapshots),
        ("recent_log", recent),
        ("log_index", index),
        ("database", database),
        ("changes", replica.change_log().memory()),
        ("proposals", node.consensus.pending_bytes()),
    ]
    .map(|(name, bytes)| MemoryPart { name, bytes })
    .to_vec()
}
