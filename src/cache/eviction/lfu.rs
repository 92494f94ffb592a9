//! Evicts the least frequently used entry, with ageing: an entry's priority is its frequency plus the priority of the
//! last victim at the time of its last use. So entries that were used often long ago give way in time.
//!
//! This is LFU with dynamic ageing: Arlitt, Cherkasova, Dilley, Friedrich, Jin, "Evaluating content management
//! techniques for Web proxy caches", 1999.

use super::eviction_policy::{
    Admission, Capacity, EvictionContext, EvictionPolicy, PolicyState, Registration,
};
use super::lru::recency_in;
use super::recency_list::{Links, RecencyList};
use crate::cache::codec::{DecodeError, Decoder, put_u64};
use crate::cache::entry::Usage;
use crate::cache::memory::in_tree;
use crate::cache::short_int::U56;
use crate::cache::slab::Slab;
use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

pub(super) const REGISTRATION: Registration =
    Registration { number: 2, name: "lfu", level: 1, evicts: true, new: || Box::<Lfu>::default() };

/// Where ageing stops. No cache lives long enough to reach it; it keeps ranks in range whatever a snapshot says.
const AGE_MAX: u64 = U56::MAX / 4;

/// Entries by priority, which is their rank, and among equals by recency.
#[derive(Debug, Default)]
struct Lfu {
    links: Links,
    by_priority: BTreeMap<u64, RecencyList>,
    len: u64,
    age: Age,
}

/// The priority of the last victim.
#[derive(Debug, Clone, Copy, Default)]
struct Age(u64);

impl PolicyState for Age {
    fn encode(&self, mut out: &mut dyn Write) -> io::Result<()> {
        put_u64(&mut out, self.0)
    }

    fn digest_words(&self) -> [u64; 4] {
        [self.0, 0, 0, 0]
    }
}

impl Lfu {
    fn enqueue(&mut self, priority: u64, recency: u64, slot: u32) {
        self.by_priority.entry(priority).or_default().insert(&mut self.links, recency, slot);
        self.len += 1;
    }
}

impl EvictionPolicy for Lfu {
    fn len(&self) -> u64 {
        self.len
    }

    fn memory(&self) -> u64 {
        self.links.memory() + in_tree::<(u64, RecencyList)>(self.by_priority.len() as u64)
    }

    fn insert(&mut self, _slab: &Slab, slot: u32, usage: &Usage, _admission: Admission) -> u64 {
        let priority = self.age.0.saturating_add(u64::from(usage.frequency));
        self.enqueue(priority, usage.recency, slot);
        priority
    }

    fn remove(&mut self, slot: u32, usage: &Usage) {
        let equals = self.by_priority.get_mut(&usage.rank).expect("only what was inserted is removed");
        equals.remove(&mut self.links, usage.recency, slot);
        if equals.len() == 0 {
            self.by_priority.remove(&usage.rank);
        }
        self.len -= 1;
        // The age of entries that were removed says nothing about new ones.
        if self.by_priority.is_empty() {
            self.age = Age::default();
        }
    }

    fn wants_touch(&self, _usage: &Usage, _newer: u64) -> bool {
        true
    }

    fn victim(&mut self, context: &mut EvictionContext<'_>) -> Option<u32> {
        self.by_priority.values().next()?.first(recency_in(context.slab))
    }

    fn on_evicted(&mut self, usage: &Usage, _fingerprint: u32) {
        if !self.by_priority.is_empty() {
            self.age = Age(self.age.0.max(usage.rank).min(AGE_MAX));
        }
    }

    fn last(&self, slab: &Slab) -> Option<u32> {
        self.by_priority.values().next_back()?.last(recency_in(slab))
    }

    fn next_victims(&self, slab: &Slab, _capacity: Capacity, limit: usize) -> Vec<u32> {
        let lists = self.by_priority.values();
        lists.flat_map(|equals| equals.iter(&self.links, recency_in(slab))).take(limit).collect()
    }

    fn restore_entry(&mut self, slot: u32, usage: &Usage) -> bool {
        self.enqueue(usage.rank, usage.recency, slot);
        usage.rank <= AGE_MAX + u64::from(u16::MAX)
    }

    fn state(&self) -> Box<dyn PolicyState> {
        Box::new(self.age)
    }

    fn restore_state(&mut self, source: &mut Decoder<&mut dyn BufRead>) -> Result<(), DecodeError> {
        self.age = Age(source.u64()?);
        if self.age.0 <= AGE_MAX { Ok(()) } else { Err(DecodeError::Damaged("the age is over its limit")) }
    }
}
