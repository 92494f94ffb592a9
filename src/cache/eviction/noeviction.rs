//! Nothing goes; a write that does not fit is refused (`apply/room.rs`). The order is kept all the same, so
//! that a switch to a policy that evicts starts with what is known.

use super::lru::Lru;
use super::{Entrance, Ground, Order};
use crate::cache::CacheConfig;
use crate::cache::entry::Usage;
use crate::cache::slab::Slab;

/// Entries by recency.
#[derive(Debug, Default)]
pub(super) struct NoEviction(Lru);

impl Order for NoEviction {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn enter(&mut self, slot: u32, usage: &Usage, entrance: Entrance) -> u64 {
        self.0.enter(slot, usage, entrance)
    }

    fn leave(&mut self, slot: u32, usage: &Usage) {
        self.0.leave(slot, usage);
    }

    /// Nobody asks for the order while this policy is in force, so uses are not worth log entries.
    fn learns(&self, _usage: &Usage, _newer: u64) -> bool {
        false
    }

    /// Asked only after a switch, for those that were left behind.
    fn victim(&mut self, ground: &mut Ground<'_>) -> Option<u32> {
        self.0.victim(ground)
    }

    fn evicted(&mut self, usage: &Usage, fingerprint: u32) {
        self.0.evicted(usage, fingerprint);
    }

    fn last(&self) -> Option<u32> {
        self.0.last()
    }

    fn next(&self, slab: &Slab, config: &CacheConfig, most: usize) -> Vec<u32> {
        self.0.next(slab, config, most)
    }

    fn warm(&self, slots: &[u32]) {
        self.0.warm(slots);
    }

    fn restore(&mut self, slot: u32, usage: &Usage) -> bool {
        self.0.restore(slot, usage)
    }
}
