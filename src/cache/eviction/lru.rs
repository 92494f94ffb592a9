//! Evicts the least recently used entry.

use super::eviction_policy::{Admission, Capacity, EvictionContext, EvictionPolicy, Registration};
use super::recency_list::RecencyList;
use crate::cache::entry::Usage;
use crate::cache::slab::Slab;

pub(super) const REGISTRATION: Registration =
    Registration { number: 0, name: "lru", level: 1, evicts: true, new: || Box::<Lru>::default() };

/// Uses of an entry among the newest sixteenth of all are not worth a place in the log: they would move it by less than
/// a sixteenth of the order.
const NEWEST_PART: u64 = 16;

/// Entries by recency. Their rank is 0: the recency is the order.
#[derive(Debug, Default)]
pub(super) struct Lru {
    by_recency: RecencyList,
}

impl EvictionPolicy for Lru {
    fn len(&self) -> u64 {
        self.by_recency.len()
    }

    fn insert(&mut self, slot: u32, usage: &Usage, _admission: Admission) -> u64 {
        self.by_recency.insert(usage.recency, slot);
        0
    }

    fn remove(&mut self, slot: u32, usage: &Usage) {
        self.by_recency.remove(usage.recency, slot);
    }

    fn wants_touch(&self, _usage: &Usage, newer: u64) -> bool {
        newer >= (self.len() / NEWEST_PART).max(1)
    }

    fn victim(&mut self, _context: &mut EvictionContext<'_>) -> Option<u32> {
        self.by_recency.first()
    }

    fn last(&self) -> Option<u32> {
        self.by_recency.last()
    }

    fn next_victims(&self, _slab: &Slab, _capacity: Capacity, limit: usize) -> Vec<u32> {
        self.by_recency.iter().take(limit).collect()
    }

    fn prefetch(&self, slots: &[u32]) {
        self.by_recency.prefetch(slots);
    }

    fn restore_entry(&mut self, slot: u32, usage: &Usage) -> bool {
        self.by_recency.insert(usage.recency, slot);
        usage.rank == 0
    }
}
