//! Where a key was found last: spares most lookups the search through the order of all keys.
//!
//! A table of slot numbers by the hash of the key, with room for two keys that share a hash: a newer one takes the place of
//! the older of the two. What stands there is a guess, and whoever uses it compares keys. So the table holds nothing that
//! replicas could differ in: with another table, or none, every answer is the same.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use xxhash_rust::xxh3::xxh3_64;

/// Up to so many places there are several for each entry; more than that would take too much memory.
const ROOMY_PLACES: usize = 1 << 18;
const PLACES_AN_ENTRY: usize = 4;

/// The table. Readers may share it: a place is read and written at once, and a hint that two of them lose is only a hint.
#[derive(Debug, Default)]
pub(super) struct Hints {
    /// Slots, each one more than its number; 0 is none. As many pairs as a power of two, or none; the newer of a pair first.
    pairs: Vec<[AtomicU32; 2]>,
}

impl Hints {
    /// Makes the table large enough for so many entries. What it knew is forgotten when it grows.
    pub fn fit(&mut self, entries: u64) {
        let entries = entries as usize;
        let places = (entries * PLACES_AN_ENTRY).min(ROOMY_PLACES).max(entries).next_power_of_two();
        if places / 2 > self.pairs.len() {
            self.pairs = std::iter::repeat_with(Default::default).take(places / 2).collect();
        }
    }

    /// The slots where a key may be.
    pub fn get(&self, key: &[u8]) -> impl Iterator<Item = u32> {
        let places = self.pair(key).into_iter().flatten();
        places.filter_map(|place| place.load(Relaxed).checked_sub(1))
    }

    /// Notes where a key is.
    pub fn set(&self, key: &[u8], slot: u32) {
        let Some([newer, older]) = self.pair(key) else { return };
        let noted = slot.wrapping_add(1);
        let before = newer.swap(noted, Relaxed);
        if before != noted && before != 0 {
            older.store(before, Relaxed);
        }
    }

    fn pair(&self, key: &[u8]) -> Option<&[AtomicU32; 2]> {
        let mask = self.pairs.len().checked_sub(1)?;
        self.pairs.get(xxh3_64(key) as usize & mask)
    }
}
