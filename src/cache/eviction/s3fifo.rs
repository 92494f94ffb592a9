//! S3-FIFO: a small queue for new entries, a main queue with second chances, and a ghost queue of evicted keys.
//!
//! Yang, Zhang, Qiu, Yue, Rashmi, "FIFO queues are all you need for cache eviction", SOSP 2023. A new entry
//! joins the small queue. At its head, an entry that was used twice moves to the main queue; another one is
//! evicted, and its key becomes a ghost. A ghost that comes back joins the main queue at once. At the
//! head of the main queue, an entry that was used is reinserted at the end, at the price of one use.

use super::eviction_policy::{
    Admission, Capacity, EvictionContext, EvictionPolicy, PolicyState, Registration,
};
use super::ghost::Ghost;
use super::recency_list::{Links, RecencyList};
use crate::cache::codec::{DecodeError, Decoder};
use crate::cache::entry::Usage;
use crate::cache::slab::Slab;
use std::collections::VecDeque;
use std::io::BufRead;

pub(super) const REGISTRATION: Registration =
    Registration { number: 3, name: "s3fifo", level: 1, evicts: true, new: || Box::<S3Fifo>::default() };

/// The small queue has a tenth of the capacity; there are as many ghosts as the main queue may hold entries.
const SMALL_PART: u64 = 10;
/// Uses that move an entry from the small queue to the main one.
const PROMOTION_HITS: u64 = 2;
/// Uses that are counted at most.
const HITS_MAX: u64 = 3;
/// Entries reinserted for one victim at most, so that no `apply` takes long: then the head is evicted, used or not.
const REINSERTS_PER_VICTIM_MAX: usize = 32;

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

/// One queue: slots by the recency with which they joined it.
#[derive(Debug, Default)]
struct Queue {
    slots: RecencyList,
    bytes: u64,
}

impl Queue {
    fn head(&self, slab: &Slab) -> Option<u32> {
        self.slots.first(queued_in(slab))
    }

    fn tail(&self, slab: &Slab) -> Option<u32> {
        self.slots.last(queued_in(slab))
    }

    fn iter(&self, links: &Links, slab: &Slab) -> impl Iterator<Item = u32> {
        self.slots.iter(links, queued_in(slab))
    }
}

/// When entries joined the queue in which they are.
fn queued_in(slab: &Slab) -> impl Fn(u32) -> u64 {
    |slot| slab.entry(slot).map_or(0, |entry| Rank::unpack(entry.rank.get()).queued)
}

#[derive(Debug, Default)]
struct S3Fifo {
    links: Links,
    small: Queue,
    main: Queue,
    ghost: Ghost,
}

impl S3Fifo {
    fn queue(&mut self, rank: Rank) -> (&mut Queue, &mut Links) {
        (if rank.in_main { &mut self.main } else { &mut self.small }, &mut self.links)
    }

    fn enqueue(&mut self, slot: u32, rank: Rank, bytes: u64) {
        let (queue, links) = self.queue(rank);
        queue.bytes += bytes;
        queue.slots.insert(links, rank.queued, slot);
    }

    /// The same, for a slot that may have been in the queue just before, at the same place.
    fn enqueue_again(&mut self, slab: &Slab, slot: u32, rank: Rank, bytes: u64) {
        let (queue, links) = self.queue(rank);
        queue.bytes += bytes;
        queue.slots.insert_again(links, rank.queued, slot, |slot| {
            let other = Rank::unpack(slab.entry(slot)?.rank.get());
            (other.in_main == rank.in_main).then_some(other.queued)
        });
    }

    fn dequeue(&mut self, slot: u32, rank: Rank, bytes: u64) {
        let (queue, links) = self.queue(rank);
        queue.slots.remove(links, rank.queued, slot);
        assert!(queue.bytes >= bytes, "an entry counts no more than its queue");
        queue.bytes -= bytes;
    }

    /// Whether the next victim comes from the main queue: when that has more than its part, or the small one is empty.
    fn is_main_next(&self, capacity: Capacity, small: u64, main: u64, main_bytes: u64) -> bool {
        let part = |capacity: u64| capacity - capacity / SMALL_PART;
        let is_over = main > part(capacity.entries) || main_bytes > part(capacity.bytes);
        small == 0 || (is_over && main > 0)
    }

    fn head(&self, slab: &Slab, in_main: bool) -> Option<u32> {
        if in_main { self.main.head(slab) } else { self.small.head(slab) }
    }

    fn is_main_next_now(&self, capacity: Capacity) -> bool {
        self.is_main_next(capacity, self.small.slots.len(), self.main.slots.len(), self.main.bytes)
    }
}

/// Uses that save an entry at the head of a queue.
fn hits_to_stay(in_main: bool) -> u64 {
    if in_main { 1 } else { PROMOTION_HITS }
}

impl EvictionPolicy for S3Fifo {
    fn len(&self) -> u64 {
        self.small.slots.len() + self.main.slots.len()
    }

    fn memory(&self) -> u64 {
        self.links.memory() + self.ghost.memory()
    }

    fn insert(&mut self, slab: &Slab, slot: u32, usage: &Usage, admission: Admission) -> u64 {
        let queued = usage.recency;
        let rank = match admission {
            Admission::New { fingerprint } => {
                Rank { queued, in_main: self.ghost.remove(fingerprint), hits: 0 }
            }
            Admission::Rewritten => {
                let rank = Rank::unpack(usage.rank);
                Rank { hits: HITS_MAX.min(rank.hits + 1), ..rank }
            }
            // An entry that was used again under another policy has passed its trial there.
            Admission::Moved => {
                let uses_since_new = u64::from(usage.frequency.saturating_sub(1));
                Rank { queued, in_main: uses_since_new > 0, hits: HITS_MAX.min(uses_since_new) }
            }
        };
        if admission == Admission::Rewritten {
            self.enqueue_again(slab, slot, rank, usage.bytes);
        } else {
            self.enqueue(slot, rank, usage.bytes);
        }
        rank.pack()
    }

    fn keeps_place(&self) -> bool {
        true
    }

    fn remove(&mut self, slot: u32, usage: &Usage) {
        self.dequeue(slot, Rank::unpack(usage.rank), usage.bytes);
    }

    /// A use moves nothing, it is only counted.
    fn on_use(&mut self, _slab: &Slab, _slot: u32, before: &Usage, after: &Usage) -> u64 {
        let rank = Rank::unpack(before.rank);
        let uses = u64::from(after.frequency.saturating_sub(before.frequency)).max(1);
        Rank { hits: HITS_MAX.min(rank.hits + uses), ..rank }.pack()
    }

    fn wants_touch(&self, usage: &Usage, _newer: u64) -> bool {
        Rank::unpack(usage.rank).hits < HITS_MAX
    }

    fn victim(&mut self, context: &mut EvictionContext<'_>) -> Option<u32> {
        for _ in 0..REINSERTS_PER_VICTIM_MAX {
            let from_main = self.is_main_next_now(context.capacity);
            let slot = self.head(context.slab, from_main)?;
            let usage = context.slab.usage(slot)?;
            let rank = Rank::unpack(usage.rank);
            if *context.reinsert_budget == 0 || rank.hits < hits_to_stay(from_main) {
                return Some(slot);
            }
            *context.reinsert_budget -= 1;
            self.dequeue(slot, rank, usage.bytes);
            *context.recency_clock += 1;
            let hits = if from_main { rank.hits - 1 } else { 0 };
            let again = Rank { queued: *context.recency_clock, in_main: true, hits };
            self.enqueue(slot, again, usage.bytes);
            let usage = Usage { rank: again.pack(), ..usage };
            context.slab.set_usage(slot, usage, REGISTRATION.number);
        }
        self.head(context.slab, self.is_main_next_now(context.capacity))
    }

    fn on_evicted(&mut self, usage: &Usage, fingerprint: u32) {
        if !Rank::unpack(usage.rank).in_main {
            let entries = self.len() + 1;
            self.ghost.add(fingerprint, entries - entries / SMALL_PART);
        }
    }

    fn last(&self, slab: &Slab) -> Option<u32> {
        self.main.tail(slab).or_else(|| self.small.tail(slab))
    }

    fn next_victims(&self, slab: &Slab, capacity: Capacity, limit: usize) -> Vec<u32> {
        let (mut small, mut main) = (self.small.iter(&self.links, slab), self.main.iter(&self.links, slab));
        let (mut smalls, mut mains) = (self.small.slots.len(), self.main.slots.len());
        let mut main_bytes = self.main.bytes;
        // Those that would be reinserted at the end of the main queue, with the uses they have left.
        let mut again = VecDeque::new();
        let (mut next, mut budget) = (Vec::new(), REINSERTS_PER_VICTIM_MAX);
        while next.len() < limit {
            let from_main = self.is_main_next(capacity, smalls, mains, main_bytes);
            let head = if from_main { main.next() } else { small.next() };
            let head = head.and_then(|slot| Some((slot, Rank::unpack(slab.usage(slot)?.rank).hits)));
            let Some((slot, hits)) = head.or_else(|| again.pop_front().filter(|_| from_main)) else { break };
            let bytes = slab.usage(slot).map_or(0, |usage| usage.bytes);
            (mains, main_bytes) =
                if from_main { (mains - 1, main_bytes - bytes) } else { (mains, main_bytes) };
            smalls -= u64::from(!from_main);
            if budget == 0 || hits < hits_to_stay(from_main) {
                next.push(slot);
                budget = REINSERTS_PER_VICTIM_MAX;
            } else {
                again.push_back((slot, if from_main { hits - 1 } else { 0 }));
                (mains, main_bytes) = (mains + 1, main_bytes + bytes);
                budget -= 1;
            }
        }
        next
    }

    fn restore_entry(&mut self, slot: u32, usage: &Usage) -> bool {
        self.enqueue(slot, Rank::unpack(usage.rank), usage.bytes);
        true
    }

    fn recency_in_rank(&self, usage: &Usage) -> Option<u64> {
        Some(Rank::unpack(usage.rank).queued)
    }

    fn state(&self) -> Box<dyn PolicyState> {
        self.ghost.state()
    }

    fn restore_state(&mut self, source: &mut Decoder<&mut dyn BufRead>) -> Result<(), DecodeError> {
        self.ghost = Ghost::decode(source)?;
        Ok(())
    }

    fn digest_words(&self) -> [u64; 4] {
        self.ghost.digest_words()
    }

    /// Only new entries ask for ghosts, and new entries join the policy in force.
    fn has_idle_state(&self) -> bool {
        self.ghost.len() > 0
    }

    fn drop_idle_state(&mut self) {
        self.ghost.drop_oldest();
    }
}
