//! Where entries live: numbered slots in copy-on-write pages.
//!
//! Slots are given out inside `apply`, so every node agrees on the number of every entry. A snapshot clones
//! the pages' pointers; a write after that copies the one page it touches.

use super::digest::{Sum, halves, hash_text, hash_words};
use super::limits::ENTRY_OVERHEAD_BYTES;
use super::payload::Payload;
use super::{Found, Key};
use std::num::NonZeroU64;
use std::sync::Arc;

/// Slots in a page: small enough that the copy after a snapshot is cheap, large enough that there are few.
pub(super) const PAGE_SLOTS: usize = 64;

type Page = [Slot; PAGE_SLOTS];

/// One place for an entry.
#[derive(Debug, Clone, Default)]
pub(super) struct Slot {
    /// How often the slot was freed (wrapping): tells an entry from its predecessors in the same slot.
    pub generation: u32,
    /// How often the entry was used, up to the type's limit. Kept under every policy, so that a switch to
    /// one that counts starts warm. It lies here, not in the entry, because it fits without padding.
    pub frequency: u32,
    pub entry: Option<Entry>,
}

/// A key and its value, with their history.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub key: Key,
    pub payload: Payload,
    pub revision: u64,
    pub created_revision: u64,
    pub version: u64,
    pub created_at_ms: u64,
    pub modified_at_ms: u64,
    /// Deadline in log time. It is never 0, because a TTL has at least 1 ms.
    pub deadline: Option<NonZeroU64>,
    /// When it was last used: a stamp of a counter that no two entries share. Orders LRU.
    pub recency: u64,
}

/// What an entry counts against the capacity in bytes.
pub(super) fn entry_cost(key: &Key, payload: &Payload) -> u64 {
    key.as_str().len() as u64 + payload.cost() + ENTRY_OVERHEAD_BYTES
}

impl Entry {
    pub fn cost(&self) -> u64 {
        entry_cost(&self.key, &self.payload)
    }

    pub fn expires_at_ms(&self) -> Option<u64> {
        self.deadline.map(NonZeroU64::get)
    }

    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.deadline.is_some_and(|deadline| deadline.get() <= now_ms)
    }

    pub fn found(&self) -> Found {
        Found {
            value: self.payload.value(),
            revision: self.revision,
            created_revision: self.created_revision,
            version: self.version,
            created_at_ms: self.created_at_ms,
            modified_at_ms: self.modified_at_ms,
            expires_at_ms: self.expires_at_ms(),
        }
    }
}

impl Slot {
    /// The record's hash in the digest; `payload_hash` apart, so that a check can compute it anew.
    pub fn hash(&self, number: u32, entry: &Entry, payload_hash: u64) -> u128 {
        let [key_low, key_high] = hash_text(entry.key.as_str());
        hash_words([
            u64::from(number),
            u64::from(self.generation) << 32 | u64::from(self.frequency),
            key_low,
            key_high,
            payload_hash,
            entry.revision,
            entry.created_revision,
            entry.version,
            entry.created_at_ms,
            entry.modified_at_ms,
            entry.expires_at_ms().unwrap_or(0),
            entry.recency,
        ])
    }
}

/// All slots. The digest's sum over them is kept here, so that no change can miss it.
#[derive(Debug, Clone, Default)]
pub(super) struct Slab {
    pages: Vec<Arc<Page>>,
    /// Slots ever given out; the last page may have more.
    slots: u32,
    /// Free slots, the next one to give out last.
    free: Vec<u32>,
    sum: Sum,
}

impl Slab {
    /// Entries held.
    pub fn len(&self) -> u64 {
        u64::from(self.slots) - self.free.len() as u64
    }

    /// Slots, used and free.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// Free slots in the order of the stack.
    pub fn free(&self) -> &[u32] {
        &self.free
    }

    pub fn sum(&self) -> Sum {
        self.sum
    }

    pub fn slot(&self, number: u32) -> Option<&Slot> {
        let (page, at) = place(number);
        self.pages.get(page).map(|page| &page[at])
    }

    pub fn entry(&self, number: u32) -> Option<&Entry> {
        self.slot(number)?.entry.as_ref()
    }

    /// Every used slot, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Entry)> {
        (0..self.slots).filter_map(|number| Some((number, self.entry(number)?)))
    }

    /// Puts an entry in the slot freed last, or in a new one.
    pub fn insert(&mut self, entry: Entry) -> u32 {
        let number = match self.free.pop() {
            Some(number) => {
                self.sum.subtract(self.free_hash(self.free.len(), number));
                number
            }
            None => self.grow(),
        };
        let slot = self.slot_mut(number);
        slot.frequency = 1;
        let hash = slot.hash(number, &entry, entry.payload.hash());
        slot.entry = Some(entry);
        self.sum.add(hash);
        number
    }

    /// Takes an entry out and gives its slot to the next comer, under a new generation.
    pub fn remove(&mut self, number: u32) -> Option<Entry> {
        self.entry(number)?;
        let slot = self.slot_mut(number);
        let entry = slot.entry.take()?;
        let hash = slot.hash(number, &entry, entry.payload.hash());
        slot.generation = slot.generation.wrapping_add(1);
        slot.frequency = 0;
        self.sum.subtract(hash);
        self.sum.add(self.free_hash(self.free.len(), number));
        self.free.push(number);
        Some(entry)
    }

    /// Removes every entry, by number.
    pub fn clear(&mut self) {
        for number in 0..self.slots {
            self.remove(number);
        }
    }

    /// Changes an entry in place; a change made here counts as a use.
    pub fn change(&mut self, number: u32, change: impl FnOnce(&mut Entry)) {
        if self.entry(number).is_none() {
            return;
        }
        let slot = self.slot_mut(number);
        let Some(mut entry) = slot.entry.take() else { return };
        let before = slot.hash(number, &entry, entry.payload.hash());
        change(&mut entry);
        slot.frequency = slot.frequency.saturating_add(1);
        let after = slot.hash(number, &entry, entry.payload.hash());
        slot.entry = Some(entry);
        self.sum.subtract(before);
        self.sum.add(after);
    }

    /// Appends a slot as a snapshot recorded it.
    pub fn restore_slot(&mut self, slot: Slot) {
        let number = self.grow();
        if let Some(entry) = &slot.entry {
            self.sum.add(slot.hash(number, entry, entry.payload.hash()));
        }
        *self.slot_mut(number) = slot;
    }

    /// Sets the free list as a snapshot recorded it; false unless it names every free slot exactly once.
    pub fn restore_free(&mut self, free: Vec<u32>) -> bool {
        let mut named = vec![false; self.slots as usize];
        for &number in &free {
            let is_free = number < self.slots && self.entry(number).is_none();
            if !is_free || std::mem::replace(&mut named[number as usize], true) {
                return false;
            }
        }
        for (position, &number) in free.iter().enumerate() {
            self.sum.add(self.free_hash(position, number));
        }
        let used = self.iter().count();
        self.free = free;
        used as u64 == self.len()
    }

    /// The sum, computed anew from every slot.
    pub fn recompute_sum(&self) -> Sum {
        let mut sum = Sum::default();
        for number in 0..self.slots {
            let Some(slot) = self.slot(number) else { continue };
            if let Some(entry) = &slot.entry {
                sum.add(slot.hash(number, entry, entry.payload.rehash()));
            }
        }
        for (position, &number) in self.free.iter().enumerate() {
            sum.add(self.free_hash(position, number));
        }
        sum
    }

    fn free_hash(&self, position: usize, number: u32) -> u128 {
        let generation = self.slot(number).map_or(0, |slot| slot.generation);
        let [low, high] = halves(u128::from(number) << 64 | u128::from(generation));
        hash_words([position as u64, low, high])
    }

    fn grow(&mut self) -> u32 {
        let number = self.slots;
        if place(number).0 == self.pages.len() {
            self.pages.push(Arc::new(std::array::from_fn(|_| Slot::default())));
        }
        self.slots += 1;
        number
    }

    fn slot_mut(&mut self, number: u32) -> &mut Slot {
        let (page, at) = place(number);
        &mut Arc::make_mut(&mut self.pages[page])[at]
    }
}

fn place(number: u32) -> (usize, usize) {
    let number = number as usize;
    (number / PAGE_SLOTS, number % PAGE_SLOTS)
}
