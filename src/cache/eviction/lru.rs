//! Evicts the least recently used entry.

use super::eviction_policy::{Admission, Capacity, EvictionContext, EvictionPolicy, Registration};
use super::recency_list::{Links, RecencyList};
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
    links: Links,
    by_recency: RecencyList,
}

/// The recencies of entries.
pub(super) fn recency_in(slab: &Slab) -> impl Fn(u32) -> u64 {
    move |slot| slab.entry(slot).map_or(0, |entry| entry.recency.get())
}

impl EvictionPolicy for Lru {
    fn len(&self) -> u64 {
        self.by_recency.len()
    }

    fn memory(&self) -> u64 {
        self.links.memory()
    }

    fn insert(&mut self, _slab: &Slab, slot: u32, usage: &Usage, _admission: Admission) -> u64 {
        self.by_recency.insert(&mut self.links, usage.recency, slot);
        0
    }

    fn remove(&mut self, slot: u32, usage: &Usage) {
        self.by_recency.remove(&mut self.links, usage.recency, slot);
    }

    fn wants_touch(&self, _usage: &Usage, newer: u64) -> bool {
        newer >= (self.len() / NEWEST_PART).max(1)
    }

    fn victim(&mut self, context: &mut EvictionContext<'_>) -> Option<u32> {
        self.by_recency.first(recency_in(context.slab))
    }

    fn last(&self, slab: &Slab) -> Option<u32> {
        self.by_recency.last(recency_in(slab))
    }

    fn next_victims(&self, slab: &Slab, _capacity: Capacity, limit: usize) -> Vec<u32> {
        self.by_recency.iter(&self.links, recency_in(slab)).take(limit).collect()
    }

    fn prefetch(&self, slots: &[u32]) {
        self.links.prefetch(slots);
    }

    fn restore_entry(&mut self, slot: u32, usage: &Usage) -> bool {
        self.by_recency.insert(&mut self.links, usage.recency, slot);
        usage.rank == 0
    }
}
