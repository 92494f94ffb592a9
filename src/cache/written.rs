//! What a log entry has written and is in no order of eviction yet.

use super::entry::Usage;
use super::eviction::Admission;
use std::collections::BTreeMap;

/// Up to so many writes are searched one by one, which needs no memory.
const SEARCHED_MAX: usize = 128;

/// An entry that was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write {
    pub slot: u32,
    /// Its usage from then on.
    pub usage: Usage,
    pub admission: Admission,
}

/// The entries that a log entry has written, in the order in which it did so first. Each is there once.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// A gap for each that was removed again.
    writes: Vec<Option<Write>>,
    /// Where each slot is, once there are too many to be searched.
    places: BTreeMap<u32, usize>,
    gaps: usize,
}

impl Written {
    /// Entries that were written and are still there.
    pub fn len(&self) -> usize {
        self.writes.len() - self.gaps
    }

    pub fn has(&self, slot: u32) -> bool {
        self.place(slot).is_some()
    }

    /// Adds an entry that is not there.
    pub fn push(&mut self, write: Write) {
        let place = self.writes.len();
        if place == SEARCHED_MAX {
            let known = self.writes.iter().enumerate();
            self.places = known.filter_map(|(place, write)| Some((write.as_ref()?.slot, place))).collect();
        }
        if place >= SEARCHED_MAX {
            self.places.insert(write.slot, place);
        }
        self.writes.push(Some(write));
    }

    /// What the entry in a slot counts against the capacity, if it was written: it has been written again.
    pub fn resize(&mut self, slot: u32, bytes: u64) -> bool {
        let write = self.place(slot).and_then(|place| self.writes.get_mut(place)?.as_mut());
        write.map(|write| write.usage.bytes = bytes).is_some()
    }

    /// Takes out an entry that is removed; false if it was not written.
    pub fn remove(&mut self, slot: u32) -> bool {
        let Some(place) = self.place(slot) else { return false };
        self.places.remove(&slot);
        self.gaps += 1;
        self.writes.get_mut(place).and_then(Option::take).is_some()
    }

    /// Takes all; [`Written::give_back`] returns the memory.
    pub fn take(&mut self) -> Vec<Option<Write>> {
        self.places.clear();
        self.gaps = 0;
        std::mem::take(&mut self.writes)
    }

    /// Keeps the memory of a list for the next log entry.
    pub fn give_back(&mut self, mut memory: Vec<Option<Write>>) {
        memory.clear();
        self.writes = memory;
    }

    fn place(&self, slot: u32) -> Option<usize> {
        if self.writes.len() > SEARCHED_MAX {
            return self.places.get(&slot).copied();
        }
        self.writes.iter().position(|write| write.as_ref().is_some_and(|write| write.slot == slot))
    }
}
