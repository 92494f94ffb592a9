//! What every log entry does besides its command: it expires what is due, frees what was cleared, and evicts what does not
//! fit. All are bounded, so that no single log entry takes long; the rest waits for the next one.

use crate::cache::entry::Entry;
use crate::cache::limits::{
    EVICT_PER_APPLY_MAX, EXPIRE_PER_APPLY_MAX, FREE_FOR_WRITE_MAX, REMOVED_BYTES_PER_APPLY_MAX,
};
use crate::cache::{Cache, Cause, Event};

/// How much memory a cache took at some moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    entries: u64,
    bytes: u64,
}

impl Cache {
    /// Removes expired entries, in order of deadline and slot.
    pub(super) fn expire_due(&mut self, events: &mut Vec<Event>) {
        let mut budget = Budget::new(EXPIRE_PER_APPLY_MAX);
        while let Some((deadline, slot)) = self.store.first_deadline()
            && deadline <= self.now_ms
            && budget.is_left()
        {
            budget.spend(self.cost(slot));
            self.expire(slot, events);
        }
    }

    /// Frees entries that were cleared.
    pub(super) fn free_cleared(&mut self) {
        let mut budget = Budget::new(self.free_per_apply_max);
        while budget.is_left()
            && let Some(cost) = self.free_next_cleared()
        {
            budget.spend(cost);
        }
    }

    /// Frees all entries that were cleared. For a state that is no replica of another one: their digests would differ.
    pub fn free_all_cleared(&mut self) {
        while self.free_next_cleared().is_some() {}
        self.store.finish();
    }

    /// Frees the next entry that was cleared; returns what it counted against the capacity.
    pub(super) fn free_next_cleared(&mut self) -> Option<u64> {
        let clear = self.store.pending_clears().first()?;
        let (revision, at_ms) = (clear.revision, clear.at_ms);
        let entry = self.store.free_next_cleared()?;
        self.forks.note_removed(&entry, false, revision, at_ms);
        Some(entry.cost())
    }

    /// Whether an earlier entry of the same key was cleared, and may not be noted yet by the open forks.
    pub(super) fn may_be_cleared(&self, entry: &Entry) -> bool {
        !self.forks.is_empty() && self.store.pending_clears().may_have(entry.record.key_bytes())
    }

    pub(super) fn size(&self) -> Size {
        Size { entries: self.store.held(), bytes: self.bytes() }
    }

    /// Evicts entries in the policy's order until the rest fits. The bound is for a surplus that was there before the
    /// command, or came with a smaller capacity. Room for what the command itself stored is made at once: otherwise large
    /// values, written into a cache of small ones, would grow it faster than evictions shrink it.
    pub(super) fn evict_surplus(&mut self, before: Size, events: &mut Vec<Event>) {
        let mut budget = Budget::new(EVICT_PER_APPLY_MAX);
        while self.is_over_capacity() {
            let grown = self.store.held() > before.entries || self.bytes() > before.bytes;
            if !budget.is_left() && !grown {
                return;
            }
            // What was cleared goes before what can be read.
            if let Some(cost) = self.free_next_cleared() {
                budget.spend(cost);
                continue;
            }
            let Some(slot) = self.store.victim(self.config.capacity()) else { return };
            budget.spend(self.cost(slot));
            self.evict(slot, events);
        }
    }

    fn evict(&mut self, slot: u32, events: &mut Vec<Event>) {
        let Some(entry) = self.store.slab().entry(slot) else { return };
        // An expired entry was gone for readers already: it expires and is not counted as evicted.
        if entry.is_expired(self.now_ms) {
            return self.expire(slot, events);
        }
        let by_entries = self.store.held() > self.config.capacity_entries;
        if let Some(entry) = self.store.evict(slot) {
            // What was cleared has been freed before.
            self.forks.note_lost(&entry, false);
            self.note_lost_key(entry.record.key_bytes(), false);
            self.stats.evicted_by_entries += u64::from(by_entries);
            self.stats.evicted_by_bytes += u64::from(!by_entries);
            events.push(Event::Removed { key: entry.record.to_key(), cause: Cause::Evict });
        }
    }

    /// Removes an entry that is no longer there for readers. If it was cleared, watchers were told then.
    pub(super) fn expire(&mut self, slot: u32, events: &mut Vec<Event>) {
        let clear = self.store.clear_of(slot).map(|clear| (clear.revision, clear.at_ms));
        let Some(entry) = self.store.remove(slot) else { return };
        if let Some((revision, at_ms)) = clear {
            return self.forks.note_removed(&entry, false, revision, at_ms);
        }
        let is_cleared = self.may_be_cleared(&entry);
        self.forks.note_lost(&entry, is_cleared);
        self.note_lost_key(entry.record.key_bytes(), true);
        self.stats.expired += 1;
        events.push(Event::Removed { key: entry.record.to_key(), cause: Cause::Expire });
    }

    /// What an entry counts against the capacity.
    fn cost(&self, slot: u32) -> u64 {
        self.store.slab().entry(slot).map_or(0, |entry| entry.cost())
    }
}

/// How much one log entry may still remove. To remove an entry reads all of it, for the digest, so bytes count too.
pub(super) struct Budget {
    entries: usize,
    bytes: u64,
}

impl Budget {
    fn new(entries: usize) -> Self {
        Self { entries, bytes: REMOVED_BYTES_PER_APPLY_MAX }
    }

    /// What one log entry may free because its writes need the room, however many they are.
    pub fn for_writes() -> Self {
        Self::new(FREE_FOR_WRITE_MAX)
    }

    pub fn is_left(&self) -> bool {
        self.entries > 0 && self.bytes > 0
    }

    /// Takes an entry from the budget. The last one may be larger than what is left, so that every log entry makes progress.
    pub fn spend(&mut self, cost: u64) {
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(cost);
    }
}
