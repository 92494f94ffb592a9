//! Evicts nothing: a write that does not fit is refused (`apply/capacity_check.rs`). The order of uses is kept all the same,
//! so that a switch to a policy that evicts starts with what is known.

use super::eviction_policy::{Admission, Capacity, EvictionContext, EvictionPolicy, Registration};
use super::lru::Lru;
use crate::cache::entry::Usage;
use crate::cache::slab::Slab;

pub(super) const REGISTRATION: Registration = Registration {
    number: 1,
    name: "noeviction",
    level: 1,
    evicts: false,
    new: || Box::<NoEviction>::default(),
};

/// Entries by recency.
#[derive(Debug, Default)]
struct NoEviction(Lru);

impl EvictionPolicy for NoEviction {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn memory(&self) -> u64 {
        self.0.memory()
    }

    fn insert(&mut self, slab: &Slab, slot: u32, usage: &Usage, admission: Admission) -> u64 {
        self.0.insert(slab, slot, usage, admission)
    }

    fn remove(&mut self, slot: u32, usage: &Usage) {
        self.0.remove(slot, usage);
    }

    /// Nothing asks for the order while this policy is in force, so uses are not worth a place in the log.
    fn wants_touch(&self, _usage: &Usage, _newer: u64) -> bool {
        false
    }

    /// Called only after a switch, for the entries left behind.
    fn victim(&mut self, context: &mut EvictionContext<'_>) -> Option<u32> {
        self.0.victim(context)
    }

    fn last(&self, slab: &Slab) -> Option<u32> {
        self.0.last(slab)
    }

    fn next_victims(&self, slab: &Slab, capacity: Capacity, limit: usize) -> Vec<u32> {
        self.0.next_victims(slab, capacity, limit)
    }

    fn prefetch(&self, slots: &[u32]) {
        self.0.prefetch(slots);
    }

    fn restore_entry(&mut self, slot: u32, usage: &Usage) -> bool {
        self.0.restore_entry(slot, usage)
    }
}
