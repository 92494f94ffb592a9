//! The entries, and what is derived from them: the ordered index, the deadlines, the order of eviction, the
//! bytes they count. Every change of an entry goes through here, so that these cannot drift apart.

use super::command::{EntryId, Touch};
use super::entry::{Entry, Lifetime, Usage, entry_cost};
use super::eviction::{Entrance, Ground, Memory, Orders};
use super::index::Index;
use super::limits::CHANCES_PER_APPLY_MAX;
use super::record::{Record, fingerprint};
use super::slab::Slab;
use super::{CacheConfig, Policy};
use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::ops::Bound;

/// Stamps a snapshot may have given out: ranks have room for them and some more.
const STAMPS_MAX: u64 = u64::MAX >> 4;

#[derive(Debug)]
pub(super) struct Store {
    slab: Slab,
    index: Index,
    deadlines: BTreeSet<(u64, u32)>,
    orders: Orders,
    /// Entries that this log entry has written. They are in no order until [`Store::finish`], so that no
    /// write falls victim to the room it needs itself. (What the usage says of those is written down then too.)
    written: Vec<(u32, Usage, Entrance)>,
    bytes: u64,
    /// The recency stamp given last.
    stamps: u64,
    /// Second chances that may still be given for this log entry.
    chances: u32,
}

/// What a write brings: when it happens and what it stores.
#[derive(Debug)]
pub(super) struct Write {
    pub revision: u64,
    pub now_ms: u64,
    pub record: Record,
    pub lifetime: Lifetime,
}

impl Store {
    pub fn new(policy: Policy) -> Self {
        Self {
            slab: Slab::default(),
            index: Index::default(),
            deadlines: BTreeSet::new(),
            orders: Orders::new(policy),
            written: Vec::new(),
            bytes: 0,
            stamps: 0,
            chances: CHANCES_PER_APPLY_MAX,
        }
    }

    /// Builds what is derived around the slab of a snapshot; an error says what does not fit together.
    pub fn restore(policy: Policy, slab: Slab, memory: Memory, stamps: u64) -> Result<Self, &'static str> {
        let orders = Orders::restore(policy, memory, &slab)
            .ok_or("an entry has no place in the order of eviction, or two have the same")?;
        let mut given: Vec<(u64, u32)> = Vec::with_capacity(slab.len() as usize);
        for (slot, entry) in slab.iter() {
            given.push((entry.recency, slot));
            given.extend(orders.stamp(&slab, slot).map(|stamp| (stamp, slot)));
        }
        given.sort_unstable();
        let shared = given.windows(2).any(|pair| pair[0].0 == pair[1].0 && pair[0].1 != pair[1].1);
        if shared || given.last().is_some_and(|(last, _)| *last > stamps) || stamps > STAMPS_MAX {
            return Err("two entries share a stamp, or one lies in the future");
        }
        let mut by_key: Vec<(&[u8], u32)> =
            slab.iter().map(|(slot, e)| (e.record.key_bytes(), slot)).collect();
        by_key.sort_unstable();
        if by_key.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err("two entries have the same key");
        }
        let index = Index::of_sorted(&by_key.iter().map(|(_, slot)| *slot).collect::<Vec<u32>>());
        let deadlines =
            slab.iter().filter_map(|(slot, entry)| Some((entry.expires_at_ms()?, slot))).collect();
        let bytes = bytes_of(&slab);
        Ok(Self {
            slab,
            index,
            deadlines,
            orders,
            written: Vec::new(),
            bytes,
            stamps,
            chances: CHANCES_PER_APPLY_MAX,
        })
    }

    pub fn slab(&self) -> &Slab {
        &self.slab
    }

    pub fn len(&self) -> u64 {
        self.slab.len()
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The bytes, counted anew.
    pub fn recompute_bytes(&self) -> u64 {
        bytes_of(&self.slab)
    }

    /// The recency stamp given last.
    pub fn stamps(&self) -> u64 {
        self.stamps
    }

    pub fn orders(&self) -> &Orders {
        &self.orders
    }

    /// Where a key may be: guesses that are quickly made.
    pub fn hints(&self, key: &str) -> impl Iterator<Item = u32> {
        self.index.hints(key.as_bytes())
    }

    /// The entry of a key, expired or not.
    pub fn find(&self, key: &str) -> Option<(u32, &Entry)> {
        let slot = self.index.find(&self.slab, key.as_bytes())?;
        Some((slot, self.slab.entry(slot)?))
    }

    /// Entries whose key starts with the prefix and comes after `after`, in order of their keys.
    pub fn range<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = (u32, &'a Entry)> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after.as_bytes()),
            _ => Bound::Included(prefix.as_bytes()),
        };
        self.index
            .from(&self.slab, start)
            .filter_map(|slot| Some((slot, self.slab.entry(slot)?)))
            .take_while(move |(_, entry)| entry.record.key_bytes().starts_with(prefix.as_bytes()))
    }

    /// The earliest deadline and its slot.
    pub fn first_deadline(&self) -> Option<(u64, u32)> {
        self.deadlines.first().copied()
    }

    /// Stores an entry under a key that has none.
    pub fn insert(&mut self, write: Write) {
        self.stamps += 1;
        let entrance = Entrance::New { fingerprint: fingerprint(write.record.key_bytes()) };
        let Lifetime { deadline, sliding_ms } = write.lifetime;
        let entry = Entry {
            record: write.record,
            revision: write.revision,
            created_revision: write.revision,
            created_at_ms: write.now_ms,
            modified_at_ms: write.now_ms,
            deadline,
            recency: self.stamps,
            rank: 0,
            version: 1,
            sliding_ms,
        };
        self.bytes += entry.cost();
        let slot = self.slab.insert(entry);
        self.index.insert(&self.slab, slot);
        self.move_deadline(slot, None, deadline);
        if let Some(usage) = self.slab.usage(slot) {
            self.written.push((slot, usage, entrance));
        }
    }

    /// Stores a new value in an entry.
    pub fn overwrite(&mut self, slot: u32, write: Write) {
        let Some(before) = self.slab.usage(slot) else { return };
        let policy = self.policy_of(slot);
        self.orders.of_mut(policy).leave(slot, &before);
        let bytes = entry_cost(&write.record);
        self.slab.set_record(slot, write.record);
        self.bytes = self.bytes - before.bytes + bytes;
        self.change_history(slot, write.lifetime, |entry| entry.changed(write.revision, write.now_ms));
        let after = Usage { bytes, ..self.used_now(before, 1) };
        self.written.push((slot, after, Entrance::Written));
    }

    /// Changes until when an entry lives. That is a use of it.
    pub fn change_lifetime(&mut self, slot: u32, lifetime: Lifetime, revision: u64, now_ms: u64) {
        self.change_history(slot, lifetime, |entry| entry.changed(revision, now_ms));
        self.use_entry(slot, 1);
    }

    /// Counts reads of an entry; false when its slot has another one by now, or its deadline had passed at
    /// `was_ms`, the log time until this log entry.
    pub fn touch(&mut self, touch: Touch, was_ms: u64, now_ms: u64) -> bool {
        let EntryId { slot: number, generation } = touch.entry;
        let Some(slot) = self.slab.slot(number) else { return false };
        let Some(entry) = &slot.entry else { return false };
        if slot.generation != generation || entry.is_expired(was_ms) {
            return false;
        }
        self.renew(number, now_ms);
        self.use_entry(number, touch.count);
        true
    }

    /// Counts a read of a key that is there, made by the log entry itself.
    pub fn count_read(&mut self, key: &str, now_ms: u64) {
        let Some((slot, _)) = self.find(key) else { return };
        self.renew(slot, now_ms);
        // What this log entry wrote counts as used already.
        if !self.written.iter().any(|(written, _, _)| *written == slot) {
            self.use_entry(slot, 1);
        }
    }

    /// Moves a deadline that uses move.
    fn renew(&mut self, slot: u32, now_ms: u64) {
        let Some(lifetime) = self.slab.entry(slot).map(Entry::lifetime) else { return };
        if lifetime.sliding_ms > 0 {
            self.change_history(slot, lifetime.used_at(now_ms), |_| {});
        }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, slot: u32) -> Option<Entry> {
        let usage = self.slab.usage(slot)?;
        let policy = self.policy_of(slot);
        self.orders.of_mut(policy).leave(slot, &usage);
        self.index.remove(&self.slab, slot);
        let entry = self.slab.remove(slot)?;
        self.bytes -= entry.cost();
        self.move_deadline(slot, entry.deadline, None);
        Some(entry)
    }

    /// Takes an entry out to make room.
    pub fn evict(&mut self, slot: u32) -> Option<Entry> {
        let usage = self.slab.usage(slot)?;
        let policy = self.policy_of(slot);
        let entry = self.remove(slot)?;
        self.orders.of_mut(policy).evicted(&usage, fingerprint(entry.record.key_bytes()));
        Some(entry)
    }

    /// Removes every entry, by slot. Several times faster than one by one, because what is derived can be
    /// dropped as a whole.
    pub fn clear(&mut self) {
        self.slab.clear();
        self.index = Index::default();
        self.deadlines = BTreeSet::new();
        self.orders = Orders::new(self.orders.policy());
        self.bytes = 0;
    }

    /// The entry to evict next; `None` when there is none, or the policy evicts nothing. What this log entry
    /// has written goes only when there is nothing else.
    pub fn victim(&mut self, config: &CacheConfig) -> Option<u32> {
        if self.written.len() as u64 == self.slab.len() {
            self.settle();
        }
        self.orders.victim(&mut Ground {
            slab: &mut self.slab,
            config,
            stamps: &mut self.stamps,
            chances: &mut self.chances,
        })
    }

    /// The entries to be evicted next if nothing is used meanwhile, at most so many.
    pub fn next_victims(&self, config: &CacheConfig, most: usize) -> Vec<u32> {
        self.orders.next(&self.slab, config, most)
    }

    /// Puts what was written into the order of eviction.
    fn settle(&mut self) {
        let mut written = std::mem::take(&mut self.written);
        for (slot, usage, entrance) in written.drain(..) {
            let moved = self.policy_of(slot) != self.orders.policy() && entrance == Entrance::Written;
            self.enter(slot, usage, if moved { Entrance::Moved } else { entrance });
        }
        self.written = written;
    }

    /// The log entry is applied.
    pub fn finish(&mut self) {
        self.settle();
        self.chances = CHANCES_PER_APPLY_MAX;
    }

    /// Orders the entries by another policy from now on; [`Store::move_on`] does the work.
    pub fn set_policy(&mut self, policy: Policy) {
        self.orders.set_policy(policy);
    }

    /// Moves entries, at most so many, from the orders of other policies to that of the one in force.
    pub fn move_on(&mut self, most: usize) {
        for _ in 0..most {
            match self.orders.next_to_move() {
                Some((policy, slot)) => {
                    let Some(usage) = self.slab.usage(slot) else { return };
                    self.orders.of_mut(policy).leave(slot, &usage);
                    self.enter(slot, usage, Entrance::Moved);
                }
                None if self.orders.forget_idle() => {}
                None => return,
            }
        }
    }

    /// Whether a read of an entry is worth telling the others.
    pub fn learns(&self, slot: u32) -> bool {
        let Some(usage) = self.slab.usage(slot) else { return false };
        let newer = self.stamps.saturating_sub(usage.recency);
        self.orders.of(self.orders.policy()).learns(&usage, newer)
            || self.policy_of(slot) != self.orders.policy()
    }

    fn enter(&mut self, slot: u32, usage: Usage, entrance: Entrance) {
        let policy = self.orders.policy();
        let rank = self.orders.of_mut(policy).enter(slot, &usage, entrance);
        self.slab.set_usage(slot, Usage { rank, ..usage }, policy.number());
    }

    /// Counts uses of an entry that stands in an order.
    fn use_entry(&mut self, slot: u32, count: u16) {
        let Some(before) = self.slab.usage(slot) else { return };
        let after = self.used_now(before, count);
        let (policy, target) = (self.policy_of(slot), self.orders.policy());
        let rank = if policy == target {
            self.orders.of_mut(policy).used(slot, &before, &after)
        } else {
            self.orders.of_mut(policy).leave(slot, &before);
            self.orders.of_mut(target).enter(slot, &after, Entrance::Moved)
        };
        self.slab.set_usage(slot, Usage { rank, ..after }, target.number());
    }

    fn used_now(&mut self, before: Usage, count: u16) -> Usage {
        self.stamps += 1;
        let frequency = before.frequency.saturating_add(count);
        Usage { recency: self.stamps, frequency, ..before }
    }

    /// The policy in whose order an entry stands.
    fn policy_of(&self, slot: u32) -> Policy {
        let number = self.slab.slot(slot).map(|slot| slot.order);
        number.and_then(Policy::from_number).unwrap_or(self.orders.policy())
    }

    /// Changes until when an entry lives, and what else belongs to its history.
    fn change_history(&mut self, slot: u32, lifetime: Lifetime, also: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.slab.entry(slot) else { return };
        self.move_deadline(slot, entry.deadline, lifetime.deadline);
        self.slab.set_history(slot, |entry| {
            (entry.deadline, entry.sliding_ms) = (lifetime.deadline, lifetime.sliding_ms);
            also(entry);
        });
    }

    fn move_deadline(&mut self, slot: u32, from: Option<NonZeroU64>, to: Option<NonZeroU64>) {
        if from == to {
            return;
        }
        if let Some(deadline) = from {
            self.deadlines.remove(&(deadline.get(), slot));
        }
        if let Some(deadline) = to {
            self.deadlines.insert((deadline.get(), slot));
        }
    }
}

fn bytes_of(slab: &Slab) -> u64 {
    slab.iter().map(|(_, entry)| entry.cost()).sum()
}
