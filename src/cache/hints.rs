//! Remembers in which slot a key was found last, which saves most lookups the search through the key index.
//!
//! A hash table of slot numbers. Two keys that share a hash fit; a third one replaces the older of the two. A hint is a
//! guess, and its user compares the keys. So replicas cannot differ because of their hints: with other hints, or none,
//! every lookup has the same result.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use xxhash_rust::xxh3::xxh3_64;

/// A small table has several places for each entry, so that few keys collide. A larger one has one for each entry, which
/// saves memory.
const SPARSE_PLACES_MAX: usize = 1 << 18;
const SPARSE_PLACES_PER_ENTRY: usize = 4;

/// The table. Readers share it: each place is read and written atomically, and a hint that gets lost between two
/// threads is only a hint.
#[derive(Debug, Default)]
pub(super) struct Hints {
    /// The two slots for each hash, the newer one first. A slot is stored as its number plus one; 0 is none. The length
    /// is a power of two, or 0.
    pairs: Vec<[AtomicU32; 2]>,
}

impl Hints {
    pub fn memory(&self) -> u64 {
        (self.pairs.len() * size_of::<[AtomicU32; 2]>()) as u64
    }

    /// Makes the table large enough for this many entries. When it grows, all hints are dropped.
    pub fn fit(&mut self, entries: u64) {
        let entries = entries as usize;
        let places =
            (entries * SPARSE_PLACES_PER_ENTRY).min(SPARSE_PLACES_MAX).max(entries).next_power_of_two();
        if places / 2 > self.pairs.len() {
            self.pairs = std::iter::repeat_with(Default::default).take(places / 2).collect();
        }
    }

    /// The slots where a key may be.
    pub fn get(&self, key: &[u8]) -> impl Iterator<Item = u32> {
        let places = self.pair(key).into_iter().flatten();
        places.filter_map(|place| place.load(Relaxed).checked_sub(1))
    }

    /// Sets the slot of a key.
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
