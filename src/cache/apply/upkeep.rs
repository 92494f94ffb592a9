//! What every log entry does besides its command: expire what is due, evict what does not fit. Both are
//! bounded, so that no single entry takes long; the rest waits for the next one.

use crate::cache::limits::{EVICT_PER_APPLY_MAX, EXPIRE_PER_APPLY_MAX};
use crate::cache::{Cache, Cause, Event};

impl Cache {
    /// Removes entries whose deadline has passed, in order of deadline and slot.
    pub(super) fn expire_due(&mut self, events: &mut Vec<Event>) {
        for _ in 0..EXPIRE_PER_APPLY_MAX {
            match self.store.first_deadline() {
                Some((deadline, slot)) if deadline <= self.now_ms => self.expire(slot, events),
                _ => return,
            }
        }
    }

    /// Removes entries in the policy's order until the rest fits.
    pub(super) fn evict_surplus(&mut self, events: &mut Vec<Event>) {
        for _ in 0..EVICT_PER_APPLY_MAX {
            if !self.is_over_capacity() {
                return;
            }
            let Some(slot) = self.store.victim() else { return };
            let Some(entry) = self.store.slab().entry(slot) else { return };
            // One whose deadline has passed was gone already for readers: room is not why.
            if entry.is_expired(self.now_ms) {
                self.expire(slot, events);
            } else if let Some(entry) = self.store.remove(slot) {
                self.stats.evicted += 1;
                events.push(Event::Removed { key: entry.key, cause: Cause::Evict });
            }
        }
    }

    pub(super) fn expire(&mut self, slot: u32, events: &mut Vec<Event>) {
        if let Some(entry) = self.store.remove(slot) {
            self.stats.expired += 1;
            events.push(Event::Removed { key: entry.key, cause: Cause::Expire });
        }
    }
}
