//! The least recently used goes first.

use super::line::Line;
use super::{Entrance, Ground, Order};
use crate::cache::CacheConfig;
use crate::cache::entry::Usage;
use crate::cache::slab::Slab;

/// An entry that was among the newest so manieth part of all stays where it is: the use that would move it
/// is not worth a place in the log.
const NEWEST_PART: u64 = 16;

/// Entries by recency. Their rank is 0: the recency says it all.
#[derive(Debug, Default)]
pub(super) struct Lru {
    by_recency: Line,
}

impl Order for Lru {
    fn len(&self) -> u64 {
        self.by_recency.len()
    }

    fn enter(&mut self, slot: u32, usage: &Usage, _entrance: Entrance) -> u64 {
        self.by_recency.insert(usage.recency, slot);
        0
    }

    fn leave(&mut self, slot: u32, usage: &Usage) {
        self.by_recency.remove(usage.recency, slot);
    }

    fn learns(&self, _usage: &Usage, newer: u64) -> bool {
        newer >= (self.len() / NEWEST_PART).max(1)
    }

    fn victim(&mut self, _ground: &mut Ground<'_>) -> Option<u32> {
        self.by_recency.first()
    }

    fn evicted(&mut self, _usage: &Usage, _fingerprint: u32) {}

    fn last(&self) -> Option<u32> {
        self.by_recency.last()
    }

    fn next(&self, _slab: &Slab, _config: &CacheConfig, most: usize) -> Vec<u32> {
        self.by_recency.iter().take(most).collect()
    }

    fn warm(&self, slots: &[u32]) {
        self.by_recency.warm(slots);
    }

    fn restore(&mut self, slot: u32, usage: &Usage) -> bool {
        self.by_recency.insert(usage.recency, slot);
        usage.rank == 0
    }
}
