//! `clear`: removes every key, or those with a prefix, in one log entry. It leaves one tombstone for all.
//!
//! All of them are gone at once for every reader and writer. The memory of many is freed by later log entries, see
//! [`super::maintenance`].

use crate::cache::entry::Entry;
use crate::cache::limits::{
    FREE_FOR_WRITE_MAX, KEY_BYTES_MAX, PENDING_CLEARS_SHORT_MAX, REMOVED_BYTES_PER_APPLY_MAX,
};
use crate::cache::pending_clears::Clear;
use crate::cache::tombstones::{Scope, Tombstone};
use crate::cache::{Cache, CommandError, Event, InvalidField, Outcome};

impl Cache {
    pub(super) fn clear(
        &mut self,
        prefix: Option<String>,
        unless: Option<String>,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, CommandError> {
        let start = prefix.as_deref().unwrap_or_default();
        if start.len().max(unless.as_ref().map_or(0, String::len)) > KEY_BYTES_MAX {
            return Err(CommandError::Invalid { op: None, field: InvalidField::Prefix });
        }
        if let Some(count) = unless.map(|unless| self.store.count(&unless)).filter(|count| *count > 0) {
            return Ok(Outcome::NotCleared { count });
        }
        let revision = self.index;
        let removed = match self.few_with_prefix(start) {
            Some(slots) => self.clear_now(slots, events),
            // Of entries that have expired, those count as removed that expiry had not reached yet: to find them among the
            // others would take as long as to free them all.
            None => self.store.clear(Clear { prefix: start.to_owned(), revision, at_ms: self.now_ms }),
        };
        if removed > 0 {
            self.stats.cleared += removed;
            let scope = Scope::Prefix(start.to_owned());
            self.tombstones.add(Tombstone { scope, revision, at_ms: self.now_ms });
            events.push(Event::Cleared { prefix, removed });
        }
        Ok(Outcome::Cleared { revision, removed })
    }

    /// The slots of the keys with a prefix; `None` when they are too many, or too large, for one log entry to free.
    fn few_with_prefix(&self, prefix: &str) -> Option<Vec<u32>> {
        // A few long clears may be pending, not many short ones: a restore compares every entry with every clear.
        let is_many = self.store.pending_clears().count() >= PENDING_CLEARS_SHORT_MAX;
        let few = if is_many { FREE_FOR_WRITE_MAX } else { self.free_per_apply_max };
        if self.store.count(prefix) > few as u64 {
            return None;
        }
        let covered = self.store.range(prefix, None);
        let (slots, costs): (Vec<u32>, Vec<u64>) = covered.map(|(slot, e)| (slot, Entry::cost(e))).unzip();
        (costs.iter().sum::<u64>() <= REMOVED_BYTES_PER_APPLY_MAX).then_some(slots)
    }

    /// Removes entries, and returns how many were there for readers: those that have expired were gone already.
    fn clear_now(&mut self, slots: Vec<u32>, events: &mut Vec<Event>) -> u64 {
        let mut removed = 0;
        for slot in slots {
            if self.store.slab().entry(slot).is_some_and(|entry| entry.is_expired(self.now_ms)) {
                self.expire(slot, events);
            } else {
                let Some(entry) = self.store.remove(slot) else { continue };
                let is_cleared = self.may_be_cleared(&entry);
                self.forks.note_removed(&entry, is_cleared, self.index, self.now_ms);
                removed += 1;
            }
        }
        removed
    }
}
