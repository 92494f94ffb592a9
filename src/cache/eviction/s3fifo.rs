//! S3-FIFO: a small queue on trial, a main queue with second chances, and the ghosts of those that failed.
//!
//! Yang, Zhang, Qiu, Yue, Rashmi, "FIFO queues are all you need for cache eviction", SOSP 2023. A new entry
//! queues in the small queue. At its head, one that was used twice goes on to the main queue; another is
//! evicted, and its key remembered as a ghost. A ghost that comes back goes to the main queue at once. At the
//! head of the main queue, one that was used goes back to the end, at the price of one use.

use super::ghost::Ghost;
use super::{Entrance, Ground, Order};
use crate::cache::entry::Usage;
use crate::cache::slab::Slab;
use crate::cache::{CacheConfig, Policy};
use std::collections::{BTreeMap, VecDeque};

/// The part of the capacity that the small queue has; the ghosts are as many as the main queue may hold.
const SMALL_PART: u64 = 10;
/// Uses that bring an entry from the small queue to the main one.
const PROMOTION_HITS: u64 = 2;
/// Uses that are counted at most.
const HITS_MAX: u64 = 3;
/// Second chances given for one victim at most, so that no `apply` takes long: then the head goes, used or
/// not.
const SECOND_CHANCES_MAX: usize = 32;

/// An entry's rank: when it queued, in which queue, and how often it was used since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rank {
    queued: u64,
    in_main: bool,
    hits: u64,
}

impl Rank {
    fn pack(self) -> u64 {
        self.queued << 3 | u64::from(self.in_main) << 2 | self.hits
    }

    fn unpack(rank: u64) -> Self {
        Self { queued: rank >> 3, in_main: rank & 0b100 != 0, hits: rank & 0b11 }
    }
}

/// One queue: slots by the stamp they were queued with.
#[derive(Debug, Default)]
struct Queue {
    slots: BTreeMap<u64, u32>,
    bytes: u64,
}

impl Queue {
    fn head(&self) -> Option<u32> {
        self.slots.first_key_value().map(|(_, &slot)| slot)
    }

    fn tail(&self) -> Option<u32> {
        self.slots.last_key_value().map(|(_, &slot)| slot)
    }
}

#[derive(Debug)]
pub(super) struct S3Fifo {
    small: Queue,
    main: Queue,
    ghost: Ghost,
}

impl S3Fifo {
    pub fn new(ghost: Ghost) -> Self {
        Self { small: Queue::default(), main: Queue::default(), ghost }
    }

    pub fn ghost(&self) -> &Ghost {
        &self.ghost
    }

    pub fn forget_oldest(&mut self) {
        self.ghost.forget_oldest();
    }

    fn queue(&mut self, rank: Rank) -> &mut Queue {
        if rank.in_main { &mut self.main } else { &mut self.small }
    }

    fn insert(&mut self, slot: u32, rank: Rank, bytes: u64) -> bool {
        let queue = self.queue(rank);
        queue.bytes += bytes;
        queue.slots.insert(rank.queued, slot).is_none()
    }

    fn remove(&mut self, rank: Rank, bytes: u64) {
        let queue = self.queue(rank);
        if queue.slots.remove(&rank.queued).is_some() {
            queue.bytes -= bytes;
        }
    }

    /// Whether the main queue has to give: when it has more than its part, or there is no other.
    fn is_main_next(&self, config: &CacheConfig, small: usize, main: usize, main_bytes: u64) -> bool {
        let part = |capacity: u64| capacity - capacity / SMALL_PART;
        let is_over = main as u64 > part(config.capacity_entries) || main_bytes > part(config.capacity_bytes);
        small == 0 || (is_over && main > 0)
    }

    fn is_main_next_now(&self, config: &CacheConfig) -> bool {
        self.is_main_next(config, self.small.slots.len(), self.main.slots.len(), self.main.bytes)
    }
}

/// Uses that save an entry at the head of a queue.
fn hits_to_stay(in_main: bool) -> u64 {
    if in_main { 1 } else { PROMOTION_HITS }
}

impl Order for S3Fifo {
    fn len(&self) -> u64 {
        (self.small.slots.len() + self.main.slots.len()) as u64
    }

    fn enter(&mut self, slot: u32, usage: &Usage, entrance: Entrance) -> u64 {
        let queued = usage.recency;
        let rank = match entrance {
            Entrance::New { fingerprint } => {
                Rank { queued, in_main: self.ghost.recall(fingerprint), hits: 0 }
            }
            Entrance::Written => {
                let rank = Rank::unpack(usage.rank);
                Rank { hits: HITS_MAX.min(rank.hits + 1), ..rank }
            }
            // One that was used again elsewhere has been on trial there.
            Entrance::Moved => {
                let uses_since_new = u64::from(usage.frequency.saturating_sub(1));
                Rank { queued, in_main: uses_since_new > 0, hits: HITS_MAX.min(uses_since_new) }
            }
        };
        self.insert(slot, rank, usage.bytes);
        rank.pack()
    }

    fn leave(&mut self, _slot: u32, usage: &Usage) {
        self.remove(Rank::unpack(usage.rank), usage.bytes);
    }

    /// A use moves nothing, it only counts.
    fn used(&mut self, _slot: u32, before: &Usage, after: &Usage) -> u64 {
        let rank = Rank::unpack(before.rank);
        let uses = u64::from(after.frequency.saturating_sub(before.frequency)).max(1);
        Rank { hits: HITS_MAX.min(rank.hits + uses), ..rank }.pack()
    }

    fn learns(&self, usage: &Usage, _newer: u64) -> bool {
        Rank::unpack(usage.rank).hits < HITS_MAX
    }

    fn victim(&mut self, ground: &mut Ground<'_>) -> Option<u32> {
        for _ in 0..SECOND_CHANCES_MAX {
            let from_main = self.is_main_next_now(ground.config);
            let slot = if from_main { self.main.head()? } else { self.small.head()? };
            let usage = ground.slab.usage(slot)?;
            let rank = Rank::unpack(usage.rank);
            if *ground.chances == 0 || rank.hits < hits_to_stay(from_main) {
                return Some(slot);
            }
            *ground.chances -= 1;
            self.remove(rank, usage.bytes);
            *ground.stamps += 1;
            let hits = if from_main { rank.hits - 1 } else { 0 };
            let again = Rank { queued: *ground.stamps, in_main: true, hits };
            self.insert(slot, again, usage.bytes);
            let usage = Usage { rank: again.pack(), ..usage };
            ground.slab.set_usage(slot, usage, Policy::S3Fifo.number());
        }
        if self.is_main_next_now(ground.config) { self.main.head() } else { self.small.head() }
    }

    fn evicted(&mut self, usage: &Usage, fingerprint: u32) {
        if !Rank::unpack(usage.rank).in_main {
            let entries = self.len() + 1;
            self.ghost.note(fingerprint, entries - entries / SMALL_PART);
        }
    }

    fn last(&self) -> Option<u32> {
        self.main.tail().or_else(|| self.small.tail())
    }

    fn next(&self, slab: &Slab, config: &CacheConfig, most: usize) -> Vec<u32> {
        let (mut small, mut main) = (self.small.slots.values(), self.main.slots.values());
        let (mut smalls, mut mains, mut main_bytes) = (small.len(), main.len(), self.main.bytes);
        // Those that would go round, to the end of the main queue, with the uses they have left.
        let mut again = VecDeque::new();
        let (mut next, mut chances) = (Vec::new(), SECOND_CHANCES_MAX);
        while next.len() < most {
            let from_main = self.is_main_next(config, smalls, mains, main_bytes);
            let head = if from_main { main.next() } else { small.next() };
            let head = head.and_then(|&slot| Some((slot, Rank::unpack(slab.usage(slot)?.rank).hits)));
            let Some((slot, hits)) = head.or_else(|| again.pop_front().filter(|_| from_main)) else { break };
            let bytes = slab.usage(slot).map_or(0, |usage| usage.bytes);
            (mains, main_bytes) =
                if from_main { (mains - 1, main_bytes - bytes) } else { (mains, main_bytes) };
            smalls -= usize::from(!from_main);
            if chances == 0 || hits < hits_to_stay(from_main) {
                next.push(slot);
                chances = SECOND_CHANCES_MAX;
            } else {
                again.push_back((slot, if from_main { hits - 1 } else { 0 }));
                (mains, main_bytes) = (mains + 1, main_bytes + bytes);
                chances -= 1;
            }
        }
        next
    }

    fn restore(&mut self, slot: u32, usage: &Usage) -> bool {
        self.insert(slot, Rank::unpack(usage.rank), usage.bytes)
    }

    fn stamp(&self, usage: &Usage) -> Option<u64> {
        Some(Rank::unpack(usage.rank).queued)
    }
}
