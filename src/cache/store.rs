//! The entries, and what is derived from them: the ordered index, the deadlines, the order of eviction, the
//! bytes they count. Every change of an entry goes through here, so that these cannot drift apart.

use super::eviction::{Order, order_of};
use super::payload::Payload;
use super::slab::{Entry, Slab};
use super::{Key, Policy};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::ops::Bound;

#[derive(Debug)]
pub(super) struct Store {
    slab: Slab,
    index: BTreeMap<Key, u32>,
    deadlines: BTreeSet<(u64, u32)>,
    order: Box<dyn Order>,
    bytes: u64,
    /// The recency stamp given last.
    recency: u64,
}

/// What a write brings: when it happens and what it stores.
#[derive(Debug)]
pub(super) struct Write {
    pub revision: u64,
    pub now_ms: u64,
    pub payload: Payload,
    pub deadline: Option<NonZeroU64>,
}

impl Store {
    pub fn new(policy: Policy) -> Self {
        let slab = Slab::default();
        let order = order_of(policy, &slab);
        Self { slab, index: BTreeMap::new(), deadlines: BTreeSet::new(), order, bytes: 0, recency: 0 }
    }

    /// Builds what is derived around the slab of a snapshot; an error says what does not fit together.
    pub fn restore(policy: Policy, slab: Slab, recency: u64) -> Result<Self, &'static str> {
        let order = order_of(policy, &slab);
        let mut stamps: Vec<u64> = slab.iter().map(|(_, entry)| entry.recency).collect();
        stamps.sort_unstable();
        if stamps.windows(2).any(|pair| pair[0] == pair[1]) || stamps.last() > Some(&recency) {
            return Err("two entries have the same recency, or one lies in the future");
        }
        let index: BTreeMap<Key, u32> = slab.iter().map(|(slot, e)| (e.key.clone(), slot)).collect();
        if index.len() as u64 != slab.len() {
            return Err("two entries have the same key");
        }
        let deadlines =
            slab.iter().filter_map(|(slot, entry)| Some((entry.expires_at_ms()?, slot))).collect();
        let bytes = bytes_of(&slab);
        Ok(Self { slab, index, deadlines, order, bytes, recency })
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

    pub fn recency(&self) -> u64 {
        self.recency
    }

    /// The entry of a key, expired or not.
    pub fn find(&self, key: &str) -> Option<(u32, &Entry)> {
        let slot = *self.index.get(key)?;
        Some((slot, self.slab.entry(slot)?))
    }

    /// Entries whose key starts with the prefix and comes after `after`, in order of their keys.
    pub fn range<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = (u32, &'a Entry)> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.index
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(move |(key, _)| key.as_str().starts_with(prefix))
            .filter_map(|(_, &slot)| Some((slot, self.slab.entry(slot)?)))
    }

    /// The earliest deadline and its slot.
    pub fn first_deadline(&self) -> Option<(u64, u32)> {
        self.deadlines.first().copied()
    }

    pub fn victim(&self) -> Option<u32> {
        self.order.victim()
    }

    /// Orders the entries by another policy.
    pub fn set_policy(&mut self, policy: Policy) {
        self.order = order_of(policy, &self.slab);
    }

    /// Stores an entry under a key that has none.
    pub fn insert(&mut self, key: Key, write: Write) {
        let entry = Entry {
            key: key.clone(),
            payload: write.payload,
            revision: write.revision,
            created_revision: write.revision,
            version: 1,
            created_at_ms: write.now_ms,
            modified_at_ms: write.now_ms,
            deadline: write.deadline,
            recency: self.next_recency(),
        };
        self.bytes += entry.cost();
        let slot = self.slab.insert(entry);
        self.index.insert(key, slot);
        self.move_deadline(slot, None, write.deadline);
        self.order.used(slot);
    }

    /// Stores a new value in an entry.
    pub fn overwrite(&mut self, slot: u32, write: Write) {
        let Some(entry) = self.slab.entry(slot) else { return };
        let (cost, deadline) = (entry.cost(), entry.deadline);
        self.bytes = self.bytes - cost + (cost - entry.payload.cost() + write.payload.cost());
        self.move_deadline(slot, deadline, write.deadline);
        let recency = self.next_recency();
        self.slab.change(slot, |entry| {
            entry.payload = write.payload;
            entry.deadline = write.deadline;
            entry.changed(write.revision, write.now_ms, recency);
        });
        self.order.used(slot);
    }

    /// Gives an entry another deadline, or none.
    pub fn set_deadline(&mut self, slot: u32, deadline: Option<NonZeroU64>, revision: u64, now_ms: u64) {
        let Some(entry) = self.slab.entry(slot) else { return };
        self.move_deadline(slot, entry.deadline, deadline);
        let recency = self.next_recency();
        self.slab.change(slot, |entry| {
            entry.deadline = deadline;
            entry.changed(revision, now_ms, recency);
        });
        self.order.used(slot);
    }

    pub fn remove(&mut self, slot: u32) -> Option<Entry> {
        let entry = self.slab.remove(slot)?;
        self.bytes -= entry.cost();
        self.index.remove(&entry.key);
        self.move_deadline(slot, entry.deadline, None);
        self.order.removed(slot);
        Some(entry)
    }

    /// Removes every entry, by slot. Several times faster than one by one, because what is derived can be
    /// dropped as a whole.
    pub fn clear(&mut self, policy: Policy) {
        self.slab.clear();
        self.index = BTreeMap::new();
        self.deadlines = BTreeSet::new();
        self.order = order_of(policy, &self.slab);
        self.bytes = 0;
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

    fn next_recency(&mut self) -> u64 {
        self.recency += 1;
        self.recency
    }
}

fn bytes_of(slab: &Slab) -> u64 {
    slab.iter().map(|(_, entry)| entry.cost()).sum()
}

impl Entry {
    fn changed(&mut self, revision: u64, now_ms: u64, recency: u64) {
        self.revision = revision;
        self.version = self.version.saturating_add(1);
        self.modified_at_ms = now_ms;
        self.recency = recency;
    }
}
