//! `clear`: removes every key, or those with a prefix, in one log entry. It leaves one tombstone for all.

use crate::cache::limits::KEY_BYTES_MAX;
use crate::cache::tombstones::{Scope, Tombstone};
use crate::cache::{Cache, CommandError, Event, InvalidField, Outcome};

impl Cache {
    pub(super) fn clear(
        &mut self,
        prefix: Option<String>,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, CommandError> {
        let start = prefix.as_deref().unwrap_or_default();
        if start.len() > KEY_BYTES_MAX {
            let reason = format!("a prefix has at most {KEY_BYTES_MAX} bytes");
            return Err(CommandError::Invalid { op: None, field: InvalidField::Prefix, reason });
        }
        let now_ms = self.now_ms;
        // Entries that have expired were gone for readers already: they expire here, and are not counted as removed.
        let covered = self.store.range(start, None);
        let expired = covered.filter(|(_, entry)| entry.is_expired(now_ms)).map(|(slot, _)| slot);
        for slot in expired.collect::<Vec<u32>>() {
            self.expire(slot, events);
        }
        let entries = self.len();
        if start.is_empty() {
            self.store.clear();
        } else {
            for slot in self.store.range(start, None).map(|(slot, _)| slot).collect::<Vec<u32>>() {
                self.store.remove(slot);
            }
        }
        let removed = entries - self.len();
        let revision = self.index;
        if removed > 0 {
            self.stats.cleared += removed;
            let scope = Scope::Prefix(start.to_owned());
            self.tombstones.add(Tombstone { scope, revision, at_ms: now_ms });
            events.push(Event::Cleared { prefix, removed });
        }
        Ok(Outcome::Cleared { revision, removed })
    }
}
