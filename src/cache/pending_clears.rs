//! Entries that a clear has removed and whose memory is not freed yet.
//!
//! A clear of a million keys must not stop the replicas for as long as it takes to free a million entries. So it takes
//! their slots out of the key index, which makes them invisible at once, and every later log entry frees a bounded number.

use super::digest::{Sum, hash_text, hash_words};
use super::key_index::KeyIndex;
use super::slab::Slab;
use std::collections::VecDeque;

/// A clear: which keys it removed, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clear {
    /// Every key that starts with it (every key, when it is empty).
    pub prefix: String,
    /// Index of its log entry.
    pub revision: u64,
    /// Log time at that index, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

impl Clear {
    /// Whether it removed an entry with this key, inserted by the log entry with this index, that no earlier clear had
    /// removed.
    pub fn covers(&self, key: &[u8], created_revision: u64) -> bool {
        created_revision < self.revision && key.starts_with(self.prefix.as_bytes())
    }

    fn hash(&self) -> u128 {
        let [low, high] = hash_text(&self.prefix);
        hash_words([low, high, self.revision, self.at_ms])
    }
}

/// Clears whose entries are not all freed, oldest first. Each has at least one entry left.
#[derive(Debug, Default)]
pub(super) struct PendingClears {
    queue: VecDeque<(Clear, KeyIndex)>,
    /// Entries of all of them.
    len: u64,
    /// For the digest: a sum over the clears.
    sum: Sum,
}

impl PendingClears {
    pub fn memory(&self) -> u64 {
        self.queue.iter().map(|(_, index)| index.memory()).sum()
    }

    /// Entries that are not freed yet.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Clears that are pending.
    pub fn count(&self) -> usize {
        self.queue.len()
    }

    /// Appends a clear with the slots of the entries that it removed, which are still in the slab.
    pub fn push(&mut self, clear: Clear, slots: KeyIndex) {
        if slots.len() > 0 {
            self.len += slots.len();
            self.sum.add(clear.hash());
            self.queue.push_back((clear, slots));
        }
    }

    /// The clear whose entries are freed next.
    pub fn first(&self) -> Option<&Clear> {
        self.clears().next()
    }

    /// The clear that removed an entry; `None` for an entry that can be read.
    pub fn clear_of(&self, key: &[u8], created_revision: u64) -> Option<&Clear> {
        self.clears().find(|clear| clear.covers(key, created_revision))
    }

    /// Whether a key had an entry that was cleared and may not be freed yet.
    pub fn may_have(&self, key: &[u8]) -> bool {
        self.clears().any(|clear| key.starts_with(clear.prefix.as_bytes()))
    }

    /// Removes the slot to free next: clears in the order in which they came, their entries in the order of their keys.
    pub fn pop_first(&mut self) -> Option<u32> {
        let (_, slots) = self.queue.front_mut()?;
        let slot = slots.pop_first()?;
        self.len -= 1;
        if slots.len() == 0 {
            self.forget(0);
        }
        Some(slot)
    }

    /// Removes a slot. Its entry is still in the slab.
    pub fn remove(&mut self, slab: &Slab, slot: u32) {
        let Some(entry) = slab.entry(slot) else { return };
        let (key, created) = (entry.record.key_bytes(), entry.created_revision.get());
        let Some(at) = self.clears().position(|clear| clear.covers(key, created)) else { return };
        let (_, slots) = &mut self.queue[at];
        let before = slots.len();
        slots.remove(slab, slot);
        self.len -= before - slots.len();
        if slots.len() == 0 {
            self.forget(at);
        }
    }

    /// Removes a clear whose entries are all freed.
    fn forget(&mut self, at: usize) {
        if let Some((clear, _)) = self.queue.remove(at) {
            self.sum.subtract(clear.hash());
        }
    }

    /// The clears, oldest first. Which entries they removed follows from the entries themselves.
    pub fn clears(&self) -> impl Iterator<Item = &Clear> {
        self.queue.iter().map(|(clear, _)| clear)
    }

    /// For the digest.
    pub fn words(&self) -> [u64; 2] {
        self.sum.words()
    }

    /// The same, computed from scratch.
    pub fn recompute_words(&self) -> [u64; 2] {
        let mut sum = Sum::default();
        self.clears().for_each(|clear| sum.add(clear.hash()));
        sum.words()
    }
}
