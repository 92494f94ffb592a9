//! Stores entries in numbered slots, in copy-on-write pages.
//!
//! Slots are allocated inside `apply`, so all nodes agree on the number of every entry. A snapshot clones the pointers to
//! the pages; a later write copies the one page that it changes.

use super::digest::{Sum, halves, hash_words};
use super::entry::{Entry, Usage, entry_cost};
use super::limits::ENTRY_OVERHEAD_BYTES;
use super::record::Record;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Slots in a page: few enough that the copy after a snapshot is cheap, and enough that there are few pages. With its
/// reference count a page has just under 4 KiB, which no allocator rounds up.
pub(super) const PAGE_SLOTS: usize = 56;

const _: () = assert!(size_of::<SlotPage>() + 2 * size_of::<usize>() <= 4096);

type SlotPage = [Slot; PAGE_SLOTS];

/// Memory of a page, with its reference counts and the pointer to it.
const PAGE_BYTES: usize = size_of::<SlotPage>() + size_of::<[usize; 3]>();

/// A place for one entry.
#[derive(Debug, Clone, Default)]
pub(super) struct Slot {
    /// How often the slot was freed (wrapping): tells an entry from its predecessors in the same slot.
    pub generation: u32,
    pub entry: Option<Entry>,
}

/// The digest is a sum of three hashes for each entry, one for each part that changes by itself. The first word of each
/// says which part it is.
impl Slot {
    /// Covers what clients stored. Reads all of it.
    fn content_hash(number: u32, generation: u32, entry: &Entry) -> u128 {
        let [low, high] = halves(entry.record.hash());
        hash_words([1 << 32 | u64::from(number), u64::from(generation), low, high])
    }

    /// Covers when it was stored and when it expires.
    fn history_hash(number: u32, entry: &Entry) -> u128 {
        hash_words([
            2 << 32 | u64::from(number),
            entry.revision.get(),
            entry.created_revision.get(),
            u64::from(entry.version) << 32 | u64::from(entry.sliding_ms),
            entry.created_at_ms.get(),
            entry.modified_at_ms.get(),
            entry.expires_at_ms().unwrap_or(0),
        ])
    }

    /// Covers how it was used.
    fn usage_hash(number: u32, entry: &Entry) -> u128 {
        let uses = u64::from(entry.policy) << 16 | u64::from(entry.frequency);
        hash_words([3 << 32 | u64::from(number), uses, entry.recency.get(), entry.rank.get()])
    }

    fn hashes(&self, number: u32, entry: &Entry) -> [u128; 3] {
        [
            Self::content_hash(number, self.generation, entry),
            Self::history_hash(number, entry),
            Self::usage_hash(number, entry),
        ]
    }
}

/// All slots. The digest's sum over them is kept here, so that every change updates it.
#[derive(Debug, Default)]
pub(super) struct Slab {
    pages: Vec<Arc<SlotPage>>,
    /// Slots ever allocated; the last page may have more.
    slots: u32,
    /// Free slots, as a stack: the last one is allocated next.
    free: Vec<u32>,
    /// What all entries count against the capacity.
    bytes: u64,
    sum: Sum,
    /// Bytes of memory that only views of earlier states still hold. They have the same counter, so their number is known.
    left_to_views: Arc<AtomicU64>,
}

impl Slab {
    /// The slots as they are now, whatever becomes of them. It shares memory with the slab.
    pub fn view(&self) -> Self {
        if !self.has_views() {
            self.left_to_views.store(0, Ordering::Relaxed);
        }
        Self {
            pages: self.pages.clone(),
            slots: self.slots,
            free: self.free.clone(),
            bytes: self.bytes,
            sum: self.sum,
            left_to_views: self.left_to_views.clone(),
        }
    }

    fn has_views(&self) -> bool {
        Arc::strong_count(&self.left_to_views) > 1
    }

    /// The memory that views keep and the slab no longer has: copies of pages, and records that were replaced or removed.
    pub fn views_memory(&self) -> u64 {
        match self.has_views() {
            true => self.left_to_views.load(Ordering::Relaxed) + (self.free.len() * size_of::<u32>()) as u64,
            false => 0,
        }
    }

    /// A record is about to leave the slab.
    fn leaves(&self, record: &Record) {
        if self.has_views() && record.is_shared() {
            self.left_to_views.fetch_add(record.cost() + Record::OVERHEAD_BYTES, Ordering::Relaxed);
        }
    }

    /// Entries held.
    pub fn len(&self) -> u64 {
        u64::from(self.slots) - self.free.len() as u64
    }

    /// What all entries count against the capacity in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The memory of the slots and of the records in them.
    pub fn memory(&self) -> u64 {
        let records = self.bytes - self.len() * ENTRY_OVERHEAD_BYTES + self.len() * Record::OVERHEAD_BYTES;
        let pages = self.pages.len() * PAGE_BYTES;
        records + (pages + self.free.capacity() * size_of::<u32>()) as u64
    }

    /// What all entries count against the capacity, counted from scratch.
    pub fn recompute_bytes(&self) -> u64 {
        self.iter().map(|(_, entry)| entry.cost()).sum()
    }

    /// Slots, in use and free.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// Free slots, the next one to be allocated last.
    pub fn free(&self) -> &[u32] {
        &self.free
    }

    pub fn sum(&self) -> Sum {
        self.sum
    }

    pub fn slot(&self, number: u32) -> Option<&Slot> {
        let (page, at) = position(number);
        self.pages.get(page).map(|page| &page[at])
    }

    pub fn entry(&self, number: u32) -> Option<&Entry> {
        self.slot(number)?.entry.as_ref()
    }

    /// Every slot in use, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Entry)> {
        let slots = (0..self.slots).zip(self.pages.iter().flat_map(|page| page.iter()));
        slots.filter_map(|(number, slot)| Some((number, slot.entry.as_ref()?)))
    }

    /// What eviction knows of an entry.
    pub fn usage(&self, number: u32) -> Option<Usage> {
        let entry = self.entry(number)?;
        Some(Usage {
            recency: entry.recency.get(),
            frequency: entry.frequency,
            rank: entry.rank.get(),
            bytes: entry.cost(),
        })
    }

    /// Stores an entry in the slot that was freed last, or in a new one.
    pub fn insert(&mut self, entry: Entry) -> u32 {
        let number = match self.free.pop() {
            Some(number) => {
                self.sum.subtract(self.free_hash(self.free.len(), number));
                number
            }
            None => self.grow(),
        };
        self.bytes += entry.cost();
        let slot = self.slot_mut(number);
        let hashes = slot.hashes(number, &entry);
        slot.entry = Some(entry);
        hashes.into_iter().for_each(|hash| self.sum.add(hash));
        number
    }

    /// Removes an entry and frees its slot, under a new generation.
    pub fn remove(&mut self, number: u32) -> Option<Entry> {
        self.entry(number)?;
        let slot = self.slot_mut(number);
        let entry = slot.entry.take()?;
        let hashes = slot.hashes(number, &entry);
        slot.generation = slot.generation.wrapping_add(1);
        hashes.into_iter().for_each(|hash| self.sum.subtract(hash));
        self.sum.add(self.free_hash(self.free.len(), number));
        self.free.push(number);
        assert!(self.bytes >= entry.cost(), "an entry counts no more than all of them");
        self.bytes -= entry.cost();
        assert!(self.len() > 0 || self.bytes == 0, "no entries count no bytes");
        self.leaves(&entry.record);
        Some(entry)
    }

    /// Stores another record of the same key.
    pub fn set_record(&mut self, number: u32, record: Record) {
        if self.entry(number).is_none() {
            return;
        }
        let bytes = entry_cost(&record);
        let Slot { generation, entry: Some(entry) } = self.slot_mut(number) else { return };
        let before = Slot::content_hash(number, *generation, entry);
        let bytes_before = entry.cost();
        let replaced = std::mem::replace(&mut entry.record, record);
        let after = Slot::content_hash(number, *generation, entry);
        self.bytes = self.bytes - bytes_before + bytes;
        self.sum.subtract(before);
        self.sum.add(after);
        self.leaves(&replaced);
    }

    /// Changes what `Slot::history_hash` covers.
    pub fn set_history(&mut self, number: u32, change: impl FnOnce(&mut Entry)) {
        if self.entry(number).is_none() {
            return;
        }
        let Some(entry) = &mut self.slot_mut(number).entry else { return };
        let before = Slot::history_hash(number, entry);
        change(entry);
        let after = Slot::history_hash(number, entry);
        self.sum.subtract(before);
        self.sum.add(after);
    }

    /// Sets how an entry was used, which policy's order has it, and its rank there.
    pub fn set_usage(&mut self, number: u32, usage: Usage, policy: u8) {
        if self.entry(number).is_none() {
            return;
        }
        let Some(entry) = &mut self.slot_mut(number).entry else { return };
        let before = Slot::usage_hash(number, entry);
        (entry.recency, entry.rank) = (usage.recency.into(), usage.rank.into());
        (entry.frequency, entry.policy) = (usage.frequency, policy);
        let after = Slot::usage_hash(number, entry);
        self.sum.subtract(before);
        self.sum.add(after);
    }

    /// Appends a slot of a snapshot.
    pub fn restore_slot(&mut self, slot: Slot) {
        let number = self.grow();
        if let Some(entry) = &slot.entry {
            slot.hashes(number, entry).into_iter().for_each(|hash| self.sum.add(hash));
            self.bytes += entry.cost();
        }
        *self.slot_mut(number) = slot;
    }

    /// Sets the free list of a snapshot; false unless it names every free slot exactly once.
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

    /// The sum, computed from scratch.
    pub fn recompute_sum(&self) -> Sum {
        let mut sum = Sum::default();
        for number in 0..self.slots {
            let Some(slot) = self.slot(number) else { continue };
            if let Some(entry) = &slot.entry {
                slot.hashes(number, entry).into_iter().for_each(|hash| sum.add(hash));
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
        if position(number).0 == self.pages.len() {
            self.pages.push(Arc::new(std::array::from_fn(|_| Slot::default())));
        }
        self.slots += 1;
        number
    }

    fn slot_mut(&mut self, number: u32) -> &mut Slot {
        let (page, at) = position(number);
        let page = &mut self.pages[page];
        if Arc::strong_count(page) > 1 {
            self.left_to_views.fetch_add(PAGE_BYTES as u64, Ordering::Relaxed);
        }
        &mut Arc::make_mut(page)[at]
    }
}

/// The page of a slot, and its position there.
fn position(number: u32) -> (usize, usize) {
    let number = number as usize;
    (number / PAGE_SLOTS, number % PAGE_SLOTS)
}
