//! The entries, and what is derived from them: the key index, the deadlines, the order of eviction, and the bytes in use.
//! Every change of an entry goes through here, so that these always agree.

use super::command::{EntryId, Touch};
use super::entry::{Entry, Lifetime, Usage, entry_cost};
use super::eviction::{Admission, Capacity, EvictionContext, Policy, PolicySet};
use super::key_index::KeyIndex;
use super::limits::REINSERTS_PER_APPLY_MAX;
use super::memory::in_tree;
use super::pending_clears::{Clear, PendingClears};
use super::record::{Record, fingerprint};
use super::short_int::U48;
use super::slab::Slab;
use super::written::{Write, Written};
use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::ops::Bound;

/// The highest recency in a snapshot. With 100,000 uses a second it is not reached in forty years.
const RECENCY_MAX: u64 = U48::MAX >> 1;

/// Cleared entries that may stand before the next victims, for a list of them to be complete.
const CLEARED_VICTIMS_MAX: u64 = 1_024;

#[derive(Debug)]
pub(super) struct Store {
    slab: Slab,
    /// The entries that can be read.
    index: KeyIndex,
    /// The other ones.
    pending_clears: PendingClears,
    deadlines: BTreeSet<(u64, u32)>,
    policies: PolicySet,
    /// Entries that this log entry has written. They are in no policy's order, and their usage is not in the slab, until
    /// [`Store::finish`]: so no write is evicted to make room for itself.
    written: Written,
    /// The recency that was assigned last. Each use gets the next one.
    recency_clock: u64,
    /// How many entries may still be reinserted instead of evicted for this log entry.
    reinsert_budget: u32,
}

/// A write: when it happens and what it stores.
#[derive(Debug)]
pub(super) struct EntryWrite {
    pub revision: u64,
    pub now_ms: u64,
    pub record: Record,
    pub lifetime: Lifetime,
}

impl Store {
    /// Memory of the entries.
    pub fn entries_memory(&self) -> u64 {
        self.slab.memory()
    }

    /// Memory of former entries that only views of the state still hold.
    pub fn views_memory(&self) -> u64 {
        self.slab.views_memory()
    }

    /// Memory of what is derived from them.
    pub fn indexes_memory(&self) -> u64 {
        let deadlines = in_tree::<(u64, u32)>(self.deadlines.len() as u64);
        self.index.memory() + self.pending_clears.memory() + deadlines + self.policies.memory()
    }

    pub fn new(policy: Policy) -> Self {
        Self {
            slab: Slab::default(),
            index: KeyIndex::default(),
            pending_clears: PendingClears::default(),
            deadlines: BTreeSet::new(),
            policies: PolicySet::new(policy),
            written: Written::default(),
            recency_clock: 0,
            reinsert_budget: REINSERTS_PER_APPLY_MAX,
        }
    }

    /// Derives the rest from the slab of a snapshot, policies without entries, and the clears that are pending; an error
    /// says what does not fit together.
    pub fn restore(
        slab: Slab,
        mut policies: PolicySet,
        recency_clock: u64,
        clears: Vec<Clear>,
    ) -> Result<Self, &'static str> {
        let mut given: Vec<(u64, u32)> = Vec::with_capacity(slab.len() as usize);
        for (slot, entry) in slab.iter() {
            given.push((entry.recency.get(), slot));
            given.extend(policies.recency_in_rank(&slab, slot).map(|recency| (recency, slot)));
        }
        given.sort_unstable();
        given.dedup();
        let shared = given.windows(2).any(|pair| pair[0].0 == pair[1].0);
        let newest = given.last().map_or(0, |(last, _)| *last);
        if shared || newest > recency_clock || recency_clock > RECENCY_MAX {
            return Err("two entries share a recency, or one lies in the future");
        }
        if !policies.restore_entries(&slab, &given) {
            return Err("an entry has no place in the order of eviction");
        }
        if clears.windows(2).any(|pair| pair[0].revision >= pair[1].revision) {
            return Err("two clears are not in the order of the log");
        }
        // The entries that can be read, then those of each clear.
        let mut parts: Vec<Vec<u32>> = vec![Vec::new(); 1 + clears.len()];
        for (slot, entry) in slab.iter() {
            let covers = |clear: &Clear| clear.covers(entry.record.key_bytes(), entry.created_revision.get());
            parts[clears.iter().position(covers).map_or(0, |at| 1 + at)].push(slot);
        }
        let mut indexes = Vec::with_capacity(parts.len());
        for slots in parts {
            indexes.push(KeyIndex::of(&slab, &slots).ok_or("two entries have the same key")?);
        }
        let mut indexes = indexes.into_iter();
        let index = indexes.next().unwrap_or_default();
        let mut pending_clears = PendingClears::default();
        for (clear, slots) in clears.into_iter().zip(indexes) {
            if slots.len() == 0 {
                return Err("a clear has nothing left to free");
            }
            pending_clears.push(clear, slots);
        }
        let deadlines =
            slab.iter().filter_map(|(slot, entry)| Some((entry.expires_at_ms()?, slot))).collect();
        Ok(Self {
            slab,
            index,
            pending_clears,
            deadlines,
            policies,
            written: Written::default(),
            recency_clock,
            reinsert_budget: REINSERTS_PER_APPLY_MAX,
        })
    }

    pub fn slab(&self) -> &Slab {
        &self.slab
    }

    /// Entries that can be read, expired or not.
    pub fn len(&self) -> u64 {
        self.index.len()
    }

    /// Entries that take memory: also those that were cleared and are not freed yet.
    pub fn held(&self) -> u64 {
        self.slab.len()
    }

    /// What the entries that take memory count against the capacity.
    pub fn bytes(&self) -> u64 {
        self.slab.bytes()
    }

    /// The recency that was assigned last.
    pub fn recency_clock(&self) -> u64 {
        self.recency_clock
    }

    pub fn policies(&self) -> &PolicySet {
        &self.policies
    }

    pub fn pending_clears(&self) -> &PendingClears {
        &self.pending_clears
    }

    /// Slots where a key may be: cheap guesses.
    pub fn hints(&self, key: &str) -> impl Iterator<Item = u32> {
        self.index.hints(key.as_bytes())
    }

    /// The entry of a key, expired or not.
    pub fn find(&self, key: &str) -> Option<(u32, &Entry)> {
        let slot = self.index.find(&self.slab, key.as_bytes())?;
        Some((slot, self.slab.entry(slot)?))
    }

    /// Entries whose keys start with the prefix and come after `after`, in the order of their keys.
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

    /// Stores an entry under a key that has none, and returns its slot.
    pub fn insert(&mut self, write: EntryWrite) -> u32 {
        self.recency_clock += 1;
        let admission = Admission::New { fingerprint: fingerprint(write.record.key_bytes()) };
        let EntryWrite { revision, now_ms, record, lifetime } = write;
        let slot = self.slab.insert(Entry::new(record, lifetime, revision, now_ms, self.recency_clock));
        self.index.insert(&self.slab, slot);
        self.move_deadline(slot, None, lifetime.deadline);
        if let Some(usage) = self.slab.usage(slot) {
            self.written.push(Write { slot, usage, admission });
        }
        slot
    }

    /// Stores a new value in an entry.
    pub fn overwrite(&mut self, slot: u32, write: EntryWrite) {
        let Some(before) = self.slab.usage(slot) else { return };
        let bytes = entry_cost(&write.record);
        // All writes of one log entry are one use.
        let is_first = !self.written.resize(slot, bytes);
        if is_first {
            let policy = self.policy_of(slot);
            self.policies.remove(policy, slot, &before);
        }
        self.slab.set_record(slot, write.record);
        self.change_history(slot, write.lifetime, |entry| entry.changed(write.revision, write.now_ms));
        if is_first {
            let usage = Usage { bytes, ..self.used_now(before, 1) };
            self.written.push(Write { slot, usage, admission: Admission::Rewritten });
        }
    }

    /// Sets when an entry was changed, and how often since it was created.
    pub fn set_times(&mut self, slot: u32, modified_at_ms: u64, version: u32) {
        self.slab.set_history(slot, |entry| {
            entry.modified_at_ms = modified_at_ms.into();
            // It is no younger than its last change.
            entry.created_at_ms = entry.created_at_ms.get().min(modified_at_ms).into();
            entry.version = version;
        });
    }

    /// Changes the lifetime of an entry, which is a use of it, unless this log entry has written it: that was one.
    pub fn change_lifetime(&mut self, slot: u32, lifetime: Lifetime, revision: u64, now_ms: u64) {
        self.change_history(slot, lifetime, |entry| entry.changed(revision, now_ms));
        if !self.written.has(slot) {
            self.use_entry(slot, 1);
        }
    }

    /// Counts reads of an entry; false when its slot has another entry by now, or when it had expired at `was_ms`, the log
    /// time before this log entry.
    pub fn touch(&mut self, touch: Touch, was_ms: u64, now_ms: u64) -> bool {
        let EntryId { slot: number, generation } = touch.entry;
        let Some(slot) = self.slab.slot(number) else { return false };
        let Some(entry) = &slot.entry else { return false };
        if slot.generation != generation || entry.is_expired(was_ms) || self.is_cleared(number) {
            return false;
        }
        self.slide(number, now_ms);
        self.use_entry(number, touch.count);
        true
    }

    /// Counts a read, made by the log entry itself, of a key that is present.
    pub fn count_read(&mut self, key: &str, now_ms: u64) {
        let Some((slot, _)) = self.find(key) else { return };
        self.slide(slot, now_ms);
        // The write of an entry counted as a use already.
        if !self.written.has(slot) {
            self.use_entry(slot, 1);
        }
    }

    /// Moves a deadline that slides.
    fn slide(&mut self, slot: u32, now_ms: u64) {
        let Some(lifetime) = self.slab.entry(slot).map(Entry::lifetime) else { return };
        if lifetime.sliding_ms > 0 {
            self.change_history(slot, lifetime.used_at(now_ms), |_| {});
        }
    }

    /// Removes an entry.
    pub fn remove(&mut self, slot: u32) -> Option<Entry> {
        self.slab.entry(slot)?;
        if self.is_cleared(slot) {
            self.pending_clears.remove(&self.slab, slot);
        } else {
            self.index.remove(&self.slab, slot);
        }
        self.remove_unindexed(slot)
    }

    /// Removes an entry that is in no index any more.
    fn remove_unindexed(&mut self, slot: u32) -> Option<Entry> {
        let usage = self.slab.usage(slot)?;
        if !self.written.remove(slot) {
            let policy = self.policy_of(slot);
            self.policies.remove(policy, slot, &usage);
        }
        let entry = self.slab.remove(slot)?;
        self.move_deadline(slot, entry.lifetime().deadline, None);
        if self.pending_clears.len() == 0 {
            self.index.believe_hints();
        }
        Some(entry)
    }

    /// Removes an entry to make room.
    pub fn evict(&mut self, slot: u32) -> Option<Entry> {
        let usage = self.slab.usage(slot)?;
        let policy = self.policy_of(slot);
        let entry = self.remove(slot)?;
        self.policies.on_evicted(policy, &usage, fingerprint(entry.record.key_bytes()));
        Some(entry)
    }

    /// How many keys start with a prefix.
    pub fn count(&self, prefix: &str) -> u64 {
        self.index.count(&self.slab, prefix.as_bytes())
    }

    /// Makes every entry invisible that a clear covers; returns how many. They stay in the order of eviction, and their
    /// memory is freed by [`Store::free_next_cleared`].
    pub fn clear(&mut self, clear: Clear) -> u64 {
        let slots = self.index.split_off(&self.slab, clear.prefix.as_bytes(), clear.revision);
        let count = slots.len();
        self.pending_clears.push(clear, slots);
        count
    }

    /// Frees the next entry that was cleared; returns it.
    pub fn free_next_cleared(&mut self) -> Option<Entry> {
        let slot = self.pending_clears.pop_first()?;
        self.remove_unindexed(slot)
    }

    /// The clear that removed the entry in a slot, if that is not freed yet.
    pub fn clear_of(&self, slot: u32) -> Option<&Clear> {
        let entry = self.slab.entry(slot).filter(|_| self.is_cleared(slot))?;
        self.pending_clears.clear_of(entry.record.key_bytes(), entry.created_revision.get())
    }

    /// Whether the entry in a slot was cleared and is not freed yet.
    pub fn is_cleared(&self, slot: u32) -> bool {
        if self.pending_clears.len() == 0 {
            return false;
        }
        let key = self.slab.entry(slot).map(|entry| entry.record.key_bytes());
        key.is_some_and(|key| self.index.find(&self.slab, key) != Some(slot))
    }

    /// The entry to evict next; `None` when there is none, or the policy evicts nothing. What this log entry
    /// has written is evicted only when there is nothing else.
    pub fn victim(&mut self, capacity: Capacity) -> Option<u32> {
        if self.written.len() as u64 == self.slab.len() {
            self.insert_written();
        }
        self.policies.victim(&mut EvictionContext {
            slab: &mut self.slab,
            capacity,
            recency_clock: &mut self.recency_clock,
            reinsert_budget: &mut self.reinsert_budget,
        })
    }

    /// The entries that are evicted next if nothing is used or written meanwhile, at most `limit`.
    pub fn next_victims(&self, capacity: Capacity, limit: usize) -> Vec<u32> {
        let cleared = self.pending_clears.len().min(CLEARED_VICTIMS_MAX) as usize;
        let mut victims = self.policies.next_victims(&self.slab, capacity, limit + cleared);
        victims.retain(|slot| !self.is_cleared(*slot));
        victims.truncate(limit);
        victims
    }

    /// Inserts what was written into the order of eviction.
    fn insert_written(&mut self) {
        let mut written = self.written.take();
        if self.policies.keeps_place() {
            // Those that were written again return first, the last of them first: so each finds the neighbours that it had
            // when it was removed.
            let is_new = |write: &Option<Write>| {
                write.as_ref().is_none_or(|write| write.admission != Admission::Rewritten)
            };
            written.sort_by_key(is_new);
            let rewritten = written.partition_point(|write| !is_new(write));
            written[..rewritten].reverse();
        }
        for Write { slot, usage, admission } in written.drain(..).flatten() {
            let moved = self.policy_of(slot) != self.policies.in_force() && admission == Admission::Rewritten;
            self.insert_into_order(slot, usage, if moved { Admission::Moved } else { admission });
        }
        self.written.give_back(written);
    }

    /// Ends a log entry.
    pub fn finish(&mut self) {
        self.insert_written();
        self.reinsert_budget = REINSERTS_PER_APPLY_MAX;
        let entries = self.slab.len();
        let indexed = self.index.len() + self.pending_clears.len();
        assert!(indexed == entries, "every entry is in the key index, or was cleared");
        assert!(self.policies.len() == entries, "every entry is in the order of one policy");
        assert!(self.deadlines.len() as u64 <= entries, "an entry has at most one deadline");
    }

    /// Puts a policy in force; [`Store::move_to_policy`] moves the entries to it.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policies.switch_to(policy);
    }

    /// Moves at most `limit` entries from the orders of other policies to that of the policy in force.
    pub fn move_to_policy(&mut self, limit: usize) {
        for _ in 0..limit {
            match self.policies.next_to_move(&self.slab) {
                Some((policy, slot)) => {
                    let Some(usage) = self.slab.usage(slot) else { return };
                    self.policies.remove(policy, slot, &usage);
                    self.insert_into_order(slot, usage, Admission::Moved);
                }
                None if self.policies.drop_idle_state() => {}
                None => return,
            }
        }
    }

    /// Whether a read of an entry would change the order of eviction.
    pub fn wants_touch(&self, slot: u32) -> bool {
        let Some(usage) = self.slab.usage(slot) else { return false };
        let newer = self.recency_clock.saturating_sub(usage.recency);
        self.policies.wants_touch(self.policy_of(slot), &usage, newer)
    }

    fn insert_into_order(&mut self, slot: u32, usage: Usage, admission: Admission) {
        let (rank, policy) = self.policies.insert(&self.slab, slot, &usage, admission);
        self.slab.set_usage(slot, Usage { rank, ..usage }, policy.number());
    }

    /// Counts uses of an entry that is in an order.
    fn use_entry(&mut self, slot: u32, count: u16) {
        let Some(before) = self.slab.usage(slot) else { return };
        let after = self.used_now(before, count);
        let policy = self.policy_of(slot);
        let (rank, policy) = self.policies.on_use(&self.slab, policy, slot, &before, &after);
        self.slab.set_usage(slot, Usage { rank, ..after }, policy.number());
    }

    fn used_now(&mut self, before: Usage, count: u16) -> Usage {
        self.recency_clock += 1;
        let frequency = before.frequency.saturating_add(count);
        Usage { recency: self.recency_clock, frequency, ..before }
    }

    /// The policy whose order has an entry.
    fn policy_of(&self, slot: u32) -> Policy {
        let number = self.slab.entry(slot).map(|entry| entry.policy);
        number.and_then(Policy::from_number).unwrap_or(self.policies.in_force())
    }

    /// Changes the lifetime of an entry, and other parts of its history.
    fn change_history(&mut self, slot: u32, lifetime: Lifetime, also: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.slab.entry(slot) else { return };
        self.move_deadline(slot, entry.lifetime().deadline, lifetime.deadline);
        self.slab.set_history(slot, |entry| {
            entry.set_lifetime(lifetime);
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
