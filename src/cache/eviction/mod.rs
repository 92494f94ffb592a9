//! Who goes when there is no room. One policy is one file here, behind [`Order`].
//!
//! An order is a function of what the entries carry (when and how often they were used, and a *rank* that the
//! policy gives them) and of little else ([`Memory`]). Both are in snapshots and in the digest; the sorted
//! sets here are derived from them.

mod ghost;
mod lfu;
mod line;
mod lru;
mod noeviction;
mod s3fifo;

use super::entry::Usage;
use super::slab::Slab;
use super::window::Window;
use super::{CacheConfig, Policy};
use ghost::Ghost;
use std::num::NonZeroU32;

/// How an entry comes into an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entrance {
    /// It was just created; the fingerprint of its key.
    New { fingerprint: u32 },
    /// It was in this order already, and was written again.
    Written,
    /// It was in another policy's order.
    Moved,
}

/// What an order may use while it looks for a victim.
pub(super) struct Ground<'a> {
    pub slab: &'a mut Slab,
    pub config: &'a CacheConfig,
    /// The counter that recency stamps are taken from.
    pub stamps: &'a mut u64,
    /// Second chances that may still be given for this log entry.
    pub chances: &'a mut u32,
}

/// The order in which entries go. `usage` is always what the entry carries at that moment.
pub(super) trait Order: std::fmt::Debug + Send + Sync {
    /// Entries in it.
    fn len(&self) -> u64;
    /// Takes an entry in and says its rank.
    fn enter(&mut self, slot: u32, usage: &Usage, entrance: Entrance) -> u64;
    /// Lets an entry out.
    fn leave(&mut self, slot: u32, usage: &Usage);
    /// An entry was used, which made `before` into `after` (but for the rank); says its rank.
    fn used(&mut self, slot: u32, before: &Usage, after: &Usage) -> u64 {
        self.leave(slot, before);
        self.enter(slot, after, Entrance::Written)
    }
    /// Whether a use tells it anything; `newer` entries were used since this one.
    fn learns(&self, usage: &Usage, newer: u64) -> bool;
    /// The entry to go next. It may move others out of its way.
    fn victim(&mut self, ground: &mut Ground<'_>) -> Option<u32>;
    /// An entry that [`Order::victim`] named is evicted; it has left.
    fn evicted(&mut self, usage: &Usage, fingerprint: u32);
    /// The entry that would stay longest.
    fn last(&self) -> Option<u32>;
    /// The entries that go next if nothing happens meanwhile, at most so many.
    fn next(&self, slab: &Slab, config: &CacheConfig, most: usize) -> Vec<u32>;
    /// Brings the places of these slots close to the processor; see [`super::Cache::warm`].
    fn warm(&self, _slots: &[u32]) {}
    /// Puts back an entry of a snapshot; false when its rank cannot be.
    fn restore(&mut self, slot: u32, usage: &Usage) -> bool;
    /// The stamp in an entry's rank, where there is one: like recencies, no two entries share them.
    fn stamp(&self, _usage: &Usage) -> Option<u64> {
        None
    }
}

/// What orders know besides what the entries carry.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    /// `lfu`: the priority of the last victim.
    pub age: u64,
    /// `s3fifo`: the keys evicted last, as fingerprints.
    pub ghost: Window<NonZeroU32>,
}

/// The order of every policy. New entries come into that of the policy in force. After a switch the others
/// are moved there, a bounded number at a time and those that would stay longest first; meanwhile those that
/// are left behind are the next to go.
#[derive(Debug)]
pub(super) struct Orders {
    policy: Policy,
    lru: lru::Lru,
    noeviction: noeviction::NoEviction,
    lfu: lfu::Lfu,
    s3fifo: s3fifo::S3Fifo,
}

impl Orders {
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            lru: lru::Lru::default(),
            noeviction: noeviction::NoEviction::default(),
            lfu: lfu::Lfu::new(0),
            s3fifo: s3fifo::S3Fifo::new(Ghost::default()),
        }
    }

    /// Builds the orders around the entries of a snapshot; `None` when an entry's place cannot be.
    pub fn restore(policy: Policy, memory: Memory, slab: &Slab) -> Option<Self> {
        let mut orders = Self::new(policy);
        orders.lfu = lfu::Lfu::new(memory.age.min(lfu::AGE_MAX));
        orders.s3fifo = s3fifo::S3Fifo::new(Ghost::restore(memory.ghost)?);
        // By recency, which is how they came in, but for the newest.
        let mut numbers: Vec<(u64, u32)> = slab.iter().map(|(number, e)| (e.recency, number)).collect();
        numbers.sort_unstable();
        for (_, number) in numbers {
            let policy = Policy::from_number(slab.slot(number)?.order)?;
            let usage = slab.usage(number)?;
            if !orders.of_mut(policy).restore(number, &usage) {
                return None;
            }
        }
        Some(orders)
    }

    /// The stamp in an entry's rank, where there is one.
    pub fn stamp(&self, slab: &Slab, slot: u32) -> Option<u64> {
        let policy = Policy::from_number(slab.slot(slot)?.order)?;
        self.of(policy).stamp(&slab.usage(slot)?)
    }

    pub fn memory(&self) -> Memory {
        Memory { age: self.lfu.age(), ghost: self.s3fifo.ghost().window().clone() }
    }

    /// For the digest: what the orders know besides what the entries carry.
    pub fn words(&self) -> [u64; 5] {
        let [first, next, low, high] = self.s3fifo.ghost().words();
        [self.lfu.age(), first, next, low, high]
    }

    /// The same, computed anew.
    pub fn recompute_words(&self) -> [u64; 5] {
        let [first, next, low, high] = self.s3fifo.ghost().recompute_words();
        [self.lfu.age(), first, next, low, high]
    }

    /// The policy in force.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// From now on this policy is in force.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    pub fn of(&self, policy: Policy) -> &dyn Order {
        match policy {
            Policy::Lru => &self.lru,
            Policy::NoEviction => &self.noeviction,
            Policy::Lfu => &self.lfu,
            Policy::S3Fifo => &self.s3fifo,
        }
    }

    pub fn of_mut(&mut self, policy: Policy) -> &mut dyn Order {
        match policy {
            Policy::Lru => &mut self.lru,
            Policy::NoEviction => &mut self.noeviction,
            Policy::Lfu => &mut self.lfu,
            Policy::S3Fifo => &mut self.s3fifo,
        }
    }

    /// Brings the places of these slots close to the processor.
    pub fn warm(&self, slots: &[u32]) {
        self.of(self.policy).warm(slots);
    }

    /// The policies whose order still holds entries though they are no longer in force.
    fn left_behind(&self) -> impl Iterator<Item = Policy> {
        Policy::ALL.into_iter().filter(|policy| *policy != self.policy && self.of(*policy).len() > 0)
    }

    /// Whether anything is left of a policy that is no longer in force.
    pub fn is_moving(&self) -> bool {
        self.left_behind().next().is_some() || self.has_idle_ghost()
    }

    /// Entries that are still in the order of another policy.
    pub fn to_move(&self) -> u64 {
        self.left_behind().map(|policy| self.of(policy).len()).sum()
    }

    fn has_idle_ghost(&self) -> bool {
        self.policy != Policy::S3Fifo && self.s3fifo.ghost().len() > 0
    }

    /// The next entry to move, and the policy it is left behind with.
    pub fn next_to_move(&self) -> Option<(Policy, u32)> {
        let policy = self.left_behind().next()?;
        Some((policy, self.of(policy).last()?))
    }

    /// Forgets one of the keys that nobody asks about any more; false when there is none.
    pub fn forget_idle(&mut self) -> bool {
        let idle = self.has_idle_ghost();
        if idle {
            self.s3fifo.forget_oldest();
        }
        idle
    }

    /// The entry to go next; `None` where nothing is evicted.
    pub fn victim(&mut self, ground: &mut Ground<'_>) -> Option<u32> {
        if self.policy == Policy::NoEviction {
            return None;
        }
        let policy = self.left_behind().next().unwrap_or(self.policy);
        self.of_mut(policy).victim(ground)
    }

    /// The entries that go next if nothing happens meanwhile, at most so many.
    pub fn next(&self, slab: &Slab, config: &CacheConfig, most: usize) -> Vec<u32> {
        if self.policy == Policy::NoEviction {
            return Vec::new();
        }
        let mut next = Vec::new();
        for policy in self.left_behind().chain([self.policy]) {
            next.extend(self.of(policy).next(slab, config, most - next.len()));
        }
        next
    }
}
