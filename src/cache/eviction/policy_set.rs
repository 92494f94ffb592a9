//! The orders of all policies side by side, and the switch from one to another.

use super::eviction_policy::{Admission, Capacity, EvictionContext, EvictionPolicy, PolicyState};
use super::policy::Policy;
use crate::cache::codec::{DecodeError, Decoder, put_u8};
use crate::cache::digest::{Sum, hash_words};
use crate::cache::entry::Usage;
use crate::cache::slab::Slab;
use std::io::{self, BufRead, Write};

/// Every policy's order. New entries are inserted into that of the policy in force. After a switch the others are moved
/// there, a bounded number at a time, those that would stay longest first; until then, those left behind are
/// evicted first.
#[derive(Debug)]
pub(in crate::cache) struct PolicySet {
    in_force: Policy,
    orders: [Box<dyn EvictionPolicy>; Policy::ALL.len()],
}

impl PolicySet {
    pub fn new(in_force: Policy) -> Self {
        Self { in_force, orders: Policy::ALL.map(Policy::new_order) }
    }

    /// The policy in force.
    pub fn in_force(&self) -> Policy {
        self.in_force
    }

    /// Entries in all orders.
    pub fn len(&self) -> u64 {
        self.orders.iter().map(|order| order.len()).sum()
    }

    /// Bytes of memory that all orders take.
    pub fn memory(&self) -> u64 {
        self.orders.iter().map(|order| order.memory()).sum()
    }

    /// From now on this policy is in force.
    pub fn switch_to(&mut self, policy: Policy) {
        self.in_force = policy;
    }

    /// Whether an entry that is written again keeps its place in the order of the policy in force.
    pub fn keeps_place(&self) -> bool {
        self.order(self.in_force).keeps_place()
    }

    /// Inserts an entry into the order of the policy in force; returns its rank and that policy.
    pub fn insert(&mut self, slab: &Slab, slot: u32, usage: &Usage, admission: Admission) -> (u64, Policy) {
        let policy = self.in_force;
        (self.order_mut(policy).insert(slab, slot, usage, admission), policy)
    }

    /// Removes an entry from the order of a policy.
    pub fn remove(&mut self, policy: Policy, slot: u32, usage: &Usage) {
        self.order_mut(policy).remove(slot, usage);
    }

    /// An entry in the order of `policy` was used, which turned `before` into `after`. It moves to the policy in force
    /// if it is not there; returns its rank and that policy.
    pub fn on_use(
        &mut self,
        slab: &Slab,
        policy: Policy,
        slot: u32,
        before: &Usage,
        after: &Usage,
    ) -> (u64, Policy) {
        if policy == self.in_force {
            return (self.order_mut(policy).on_use(slab, slot, before, after), policy);
        }
        self.remove(policy, slot, before);
        self.insert(slab, slot, after, Admission::Moved)
    }

    /// An entry that [`victim`](Self::victim) returned was removed to make room.
    pub fn on_evicted(&mut self, policy: Policy, usage: &Usage, fingerprint: u32) {
        self.order_mut(policy).on_evicted(usage, fingerprint);
    }

    /// Whether a use of an entry in the order of `policy` would change any order; `newer` entries were used since.
    pub fn wants_touch(&self, policy: Policy, usage: &Usage, newer: u64) -> bool {
        policy != self.in_force || self.order(policy).wants_touch(usage, newer)
    }

    /// The entry to evict next; `None` where nothing is evicted.
    pub fn victim(&mut self, context: &mut EvictionContext<'_>) -> Option<u32> {
        if !self.in_force.evicts() {
            return None;
        }
        let policy = self.left_behind().next().unwrap_or(self.in_force);
        self.order_mut(policy).victim(context)
    }

    /// The entries that are evicted next if nothing is used or written meanwhile, at most `limit`.
    pub fn next_victims(&self, slab: &Slab, capacity: Capacity, limit: usize) -> Vec<u32> {
        if !self.in_force.evicts() {
            return Vec::new();
        }
        let mut next = Vec::new();
        for policy in self.left_behind().chain([self.in_force]) {
            next.extend(self.order(policy).next_victims(slab, capacity, limit - next.len()));
        }
        next
    }

    /// Loads what the order in force knows of these slots into the processor's caches.
    pub fn prefetch(&self, slots: &[u32]) {
        self.order(self.in_force).prefetch(slots);
    }

    /// Whether anything is left of a policy that is no longer in force.
    pub fn is_moving(&self) -> bool {
        self.left_behind().next().is_some() || self.idle_state().is_some()
    }

    /// Entries that are still in the order of another policy.
    pub fn entries_to_move(&self) -> u64 {
        self.left_behind().map(|policy| self.order(policy).len()).sum()
    }

    /// The next entry to move, and the policy that has it.
    pub fn next_to_move(&self, slab: &Slab) -> Option<(Policy, u32)> {
        let policy = self.left_behind().next()?;
        Some((policy, self.order(policy).last(slab)?))
    }

    /// Drops a part of what only policies know that are no longer in force; false when there is none left.
    pub fn drop_idle_state(&mut self) -> bool {
        let Some(policy) = self.idle_state() else { return false };
        self.order_mut(policy).drop_idle_state();
        true
    }

    /// The states of the policies that have one. A policy that was never in force is left out, so that a snapshot can be
    /// read by a release that does not know it.
    pub fn states(&self) -> PolicyStates {
        let states = Policy::ALL.map(|policy| (policy.number(), self.order(policy).state()));
        PolicyStates(states.into_iter().filter(|(_, state)| state.digest_words() != [0; 4]).collect())
    }

    /// Reads what [`PolicyStates::encode`] wrote, into policies without entries.
    pub fn restore_states(&mut self, source: &mut Decoder<impl BufRead>) -> Result<(), DecodeError> {
        let mut before = None;
        for _ in 0..source.u8()? {
            let number = source.u8()?;
            if before.replace(number) >= Some(number) {
                return Err(DecodeError::Damaged("the policies are not sorted by number"));
            }
            let policy =
                Policy::from_number(number).ok_or(DecodeError::Damaged("a policy has an unknown number"))?;
            self.order_mut(policy).restore_state(&mut Decoder(&mut source.0))?;
        }
        Ok(())
    }

    /// Inserts the entries of a snapshot; false when one cannot be where it says. `recencies` are all of each entry, its own and
    /// that in its rank, in ascending order.
    pub fn restore_entries(&mut self, slab: &Slab, recencies: &[(u64, u32)]) -> bool {
        recencies.iter().all(|&(recency, number)| {
            let found = policy_of(slab, number).zip(slab.usage(number));
            found.is_some_and(|(policy, usage)| {
                let order = self.order_mut(policy);
                // In the order of the recencies by which the policies sort them, so that each comes last.
                let sorted_by = order.recency_in_rank(&usage).unwrap_or(usage.recency);
                sorted_by != recency || order.restore_entry(number, &usage)
            })
        })
    }

    /// The recency in an entry's rank, if it holds one.
    pub fn recency_in_rank(&self, slab: &Slab, slot: u32) -> Option<u64> {
        self.order(policy_of(slab, slot)?).recency_in_rank(&slab.usage(slot)?)
    }

    /// For the digest: a sum over the state of every policy.
    pub fn digest_words(&self) -> [u64; 2] {
        self.sum_of(|order| order.digest_words())
    }

    /// The same, computed from scratch.
    pub fn recompute_digest_words(&self) -> [u64; 2] {
        self.sum_of(|order| order.state().digest_words())
    }

    fn sum_of(&self, words: impl Fn(&dyn EvictionPolicy) -> [u64; 4]) -> [u64; 2] {
        let mut sum = Sum::default();
        for policy in Policy::ALL {
            let [a, b, c, d] = words(self.order(policy));
            if [a, b, c, d] != [0; 4] {
                sum.add(hash_words([u64::from(policy.number()), a, b, c, d]));
            }
        }
        sum.words()
    }

    /// The policies that are no longer in force and still have entries.
    fn left_behind(&self) -> impl Iterator<Item = Policy> {
        Policy::ALL.into_iter().filter(|policy| *policy != self.in_force && self.order(*policy).len() > 0)
    }

    /// The next policy that is no longer in force and still has state.
    fn idle_state(&self) -> Option<Policy> {
        let idle = |policy: &Policy| *policy != self.in_force && self.order(*policy).has_idle_state();
        Policy::ALL.into_iter().find(idle)
    }

    fn order(&self, policy: Policy) -> &dyn EvictionPolicy {
        &*self.orders[policy.position()]
    }

    fn order_mut(&mut self, policy: Policy) -> &mut dyn EvictionPolicy {
        &mut *self.orders[policy.position()]
    }
}

/// The policy whose order has an entry.
fn policy_of(slab: &Slab, slot: u32) -> Option<Policy> {
    Policy::from_number(slab.entry(slot)?.policy)
}

/// The states of all policies as a snapshot takes them, each behind its policy's number.
#[derive(Debug)]
pub(in crate::cache) struct PolicyStates(Vec<(u8, Box<dyn PolicyState>)>);

impl PolicyStates {
    /// Writes how many there are, then each with its number before it.
    pub fn encode(&self, out: &mut impl Write) -> io::Result<()> {
        put_u8(out, self.0.len() as u8)?;
        self.0.iter().try_for_each(|(number, state)| {
            put_u8(out, *number)?;
            state.encode(out)
        })
    }
}
