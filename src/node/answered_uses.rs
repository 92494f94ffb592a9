//! The numbers of uses that this node has answered recently. A read takes a while to get into the log. A client that
//! reads the key again meanwhile must not get a smaller number than before.

use crate::cache::EntryId;
use rustc_hash::FxHashMap;
use std::collections::hash_map::Entry;

/// Most entries in each of the two generations.
const ENTRIES_MAX: usize = 4_096;

/// The newest answers, in two generations: the old one is dropped when the young one takes its place.
#[derive(Debug, Default)]
pub(super) struct AnsweredUses {
    young: FxHashMap<EntryId, u64>,
    old: FxHashMap<EntryId, u64>,
}

impl AnsweredUses {
    /// The number of uses of an entry before this one, given the number that this node knows. It is higher than every
    /// number answered before.
    pub fn before(&mut self, entry: EntryId, known: u64) -> u64 {
        let after = |answered: u64| known.max(answered + 1);
        let has_room = self.young.len() < ENTRIES_MAX;
        match self.young.entry(entry) {
            Entry::Occupied(mut young) => {
                let uses = after(*young.get());
                young.insert(uses);
                uses
            }
            Entry::Vacant(vacant) => {
                let uses = self.old.get(&entry).map_or(known, |answered| after(*answered));
                if has_room {
                    vacant.insert(uses);
                }
                uses
            }
        }
    }

    /// Drops the answers that were not repeated since the last call. Reads from before that are in the log by now.
    pub fn age(&mut self) {
        self.old = std::mem::take(&mut self.young);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_never_fall_and_are_dropped_in_time() {
        let entry = EntryId { slot: 1, generation: 0 };
        let mut uses = AnsweredUses::default();
        assert_eq!((uses.before(entry, 1), uses.before(entry, 2), uses.before(entry, 3)), (1, 2, 3));
        // Sent to the leader, and not applied here yet.
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
