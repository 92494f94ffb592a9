//! How often an entry was used, as this node answered lately. Reads are on their way into the log for a while; a client
//! that reads a key again meanwhile must not be told of fewer uses than before.

use crate::cache::EntryId;
use std::collections::HashMap;

/// Entries that are remembered in each of the two halves.
const ENTRIES_MAX: usize = 4_096;

/// The newest answers, in two halves: the older one is forgotten when the younger one is old enough.
#[derive(Debug, Default)]
pub(super) struct AnsweredUses {
    young: HashMap<EntryId, u64>,
    old: HashMap<EntryId, u64>,
}

impl AnsweredUses {
    /// Uses of an entry before this one, given those that this node knows of; at least as many as it answered before.
    pub fn before(&mut self, entry: EntryId, known: u64) -> u64 {
        let answered = self.young.get(&entry).or_else(|| self.old.get(&entry));
        let uses = answered.map_or(known, |answered| known.max(answered + 1));
        if self.young.len() < ENTRIES_MAX || self.young.contains_key(&entry) {
            self.young.insert(entry, uses);
        }
        uses
    }

    /// Forgets what was not answered again since the last time. What was read before then has come through the log.
    pub fn age(&mut self) {
        self.old = std::mem::take(&mut self.young);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_never_fall_and_are_forgotten_in_time() {
        let entry = EntryId { slot: 1, generation: 0 };
        let mut uses = AnsweredUses::default();
        assert_eq!((uses.before(entry, 1), uses.before(entry, 2), uses.before(entry, 3)), (1, 2, 3));
        // Told of, and not back yet.
        assert_eq!(uses.before(entry, 1), 4);
        uses.age();
        assert_eq!(uses.before(entry, 9), 9, "others read it too");
        uses.age();
        uses.age();
        assert_eq!(uses.before(entry, 2), 2);
        for slot in 0..100_000 {
            uses.before(EntryId { slot, generation: 1 }, 1);
        }
        assert!(uses.young.len() <= ENTRIES_MAX);
    }
}
