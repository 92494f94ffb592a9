//! The least frequently used goes first, with ageing: an entry's priority is its frequency plus the priority
//! of the last victim when it was used. So entries that were used often long ago give way in time.
//!
//! This is LFU with dynamic ageing: Arlitt, Cherkasova, Dilley, Friedrich, Jin, "Evaluating content management
//! techniques for Web proxy caches", 1999.

use super::{Entrance, Ground, Order};
use crate::cache::CacheConfig;
use crate::cache::entry::Usage;
use crate::cache::slab::Slab;
use std::collections::BTreeMap;

/// Where ageing ends. No cache lives that long; it keeps sums within their range whatever a snapshot says.
pub(super) const AGE_MAX: u64 = u64::MAX / 4;

/// Entries by priority, which is their rank, and among equals by recency.
#[derive(Debug)]
pub(super) struct Lfu {
    by_priority: BTreeMap<(u64, u64), u32>,
    age: u64,
}

impl Lfu {
    pub fn new(age: u64) -> Self {
        Self { by_priority: BTreeMap::new(), age }
    }

    /// The priority of the last victim.
    pub fn age(&self) -> u64 {
        self.age
    }
}

impl Order for Lfu {
    fn len(&self) -> u64 {
        self.by_priority.len() as u64
    }

    fn enter(&mut self, slot: u32, usage: &Usage, _entrance: Entrance) -> u64 {
        let priority = self.age.saturating_add(u64::from(usage.frequency));
        self.by_priority.insert((priority, usage.recency), slot);
        priority
    }

    fn leave(&mut self, _slot: u32, usage: &Usage) {
        self.by_priority.remove(&(usage.rank, usage.recency));
        // The age of entries that are gone says nothing about those to come.
        if self.by_priority.is_empty() {
            self.age = 0;
        }
    }

    fn learns(&self, _usage: &Usage, _newer: u64) -> bool {
        true
    }

    fn victim(&mut self, _ground: &mut Ground<'_>) -> Option<u32> {
        self.by_priority.first_key_value().map(|(_, &slot)| slot)
    }

    fn evicted(&mut self, usage: &Usage, _fingerprint: u32) {
        if !self.by_priority.is_empty() {
            self.age = self.age.max(usage.rank).min(AGE_MAX);
        }
    }

    fn last(&self) -> Option<u32> {
        self.by_priority.last_key_value().map(|(_, &slot)| slot)
    }

    fn next(&self, _slab: &Slab, _config: &CacheConfig, most: usize) -> Vec<u32> {
        self.by_priority.values().copied().take(most).collect()
    }

    fn restore(&mut self, slot: u32, usage: &Usage) -> bool {
        usage.rank <= AGE_MAX + u64::from(u16::MAX)
            && self.by_priority.insert((usage.rank, usage.recency), slot).is_none()
    }
}
