//! What every log entry does besides its command: it expires what is due and evicts what does not fit. Both are
//! bounded, so that no single log entry takes long; the rest waits for the next one.

use crate::cache::limits::{EVICT_PER_APPLY_MAX, EXPIRE_PER_APPLY_MAX};
use crate::cache::{Cache, Cause, Event};

/// How much a cache held at some moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    entries: u64,
    bytes: u64,
}

impl Cache {
    /// Removes expired entries, in order of deadline and slot.
    pub(super) fn expire_due(&mut self, events: &mut Vec<Event>) {
        for _ in 0..EXPIRE_PER_APPLY_MAX {
            match self.store.first_deadline() {
                Some((deadline, slot)) if deadline <= self.now_ms => self.expire(slot, events),
                _ => return,
            }
        }
    }

    pub(super) fn size(&self) -> Size {
        Size { entries: self.len(), bytes: self.bytes() }
    }

    /// Evicts entries in the policy's order until the rest fits. The bound is for a surplus that was there before the
    /// command, or came with a smaller capacity. Room for what the command itself stored is made at once: otherwise large
    /// values, written into a cache of small ones, would grow it faster than evictions shrink it.
    pub(super) fn evict_surplus(&mut self, before: Size, events: &mut Vec<Event>) {
        for victims in 0.. {
            let grown = self.len() > before.entries || self.bytes() > before.bytes;
            if !self.is_over_capacity() || (victims >= EVICT_PER_APPLY_MAX && !grown) {
                return;
            }
            let Some(slot) = self.store.victim(self.config.capacity()) else { return };
            let Some(entry) = self.store.slab().entry(slot) else { return };
            // An expired entry was gone for readers already: it expires and is not counted as evicted.
            if entry.is_expired(self.now_ms) {
                self.expire(slot, events);
                continue;
            }
            let by_entries = self.len() > self.config.capacity_entries;
            if let Some(entry) = self.store.evict(slot) {
                self.stats.evicted_by_entries += u64::from(by_entries);
                self.stats.evicted_by_bytes += u64::from(!by_entries);
                events.push(Event::Removed { key: entry.record.to_key(), cause: Cause::Evict });
            }
        }
    }

    pub(super) fn expire(&mut self, slot: u32, events: &mut Vec<Event>) {
        if let Some(entry) = self.store.remove(slot) {
            self.stats.expired += 1;
            events.push(Event::Removed { key: entry.record.to_key(), cause: Cause::Expire });
        }
    }
}
