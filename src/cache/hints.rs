//! Where a key was found last: spares most lookups the search through the order of all keys.
//!
//! A table of slot numbers by the hash of the key, without chains: a newer key takes the place of an older one. What
//! stands there is a guess, and whoever uses it compares keys. So the table holds nothing that replicas could differ
//! in: with another table, or none, every answer is the same.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use xxhash_rust::xxh3::xxh3_64;

/// Up to so many places there are several for each entry; more than that would take too much memory.
const ROOMY_PLACES: usize = 1 << 18;
const PLACES_AN_ENTRY: usize = 4;

/// The table. Readers may share it: a place is read and written at once.
#[derive(Debug, Default)]
pub(super) struct Hints {
    /// Slots, each one more than its number; 0 is none. As many as a power of two, or none.
    places: Vec<AtomicU32>,
}

impl Hints {
    /// Makes the table large enough for so many entries. What it knew is forgotten when it grows.
    pub fn fit(&mut self, entries: u64) {
        let entries = entries as usize;
        let places = (entries * PLACES_AN_ENTRY).min(ROOMY_PLACES).max(entries).next_power_of_two();
        if places > self.places.len() {
            self.places = std::iter::repeat_with(AtomicU32::default).take(places).collect();
        }
    }

    /// The slot where a key may be.
    pub fn get(&self, key: &[u8]) -> Option<u32> {
        self.place(key)?.load(Relaxed).checked_sub(1)
    }

    /// Notes where a key is.
    pub fn set(&self, key: &[u8], slot: u32) {
        if let Some(place) = self.place(key) {
            place.store(slot.wrapping_add(1), Relaxed);
        }
    }

    fn place(&self, key: &[u8]) -> Option<&AtomicU32> {
        let mask = self.places.len().checked_sub(1)?;
        self.places.get(xxh3_64(key) as usize & mask)
    }
}
