//! What remembers that the cache removed a key by itself: it expired, or was evicted. Nobody asked for that, so it leaves no
//! tombstone. It is remembered so that a reader who misses the key can be told why, and a writer who knows when the key was
//! absent can be sure that it was absent since.
//!
//! The memory is a table of one record for each hash of a key, modulo its size: a record is displaced by that of another key
//! with the same place. So there is nothing to search and nothing to queue when a key goes, which is the path of every write to
//! a full cache. What a place does not tell is known, too: no key of that place was lost after the record in it.

use super::digest::{Sum, hash_words};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Places of the table.
const PLACES: usize = 1 << 16;
/// Places that are allocated together, and copied together while a snapshot shares them.
const CHUNK_PLACES: usize = 1 << 10;

/// A key that was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LostKey {
    pub key_hash: u64,
    /// Index of the log entry with which it went.
    pub revision: u64,
    /// Log time of that entry, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// It expired; else it was evicted.
    pub expired: bool,
}

/// What is remembered about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// It was last lost so.
    Known(LostKey),
    /// It was not lost after this log index. Before, it may have been; 0 if it never was.
    NotAfter(u64),
}

type Chunk = Option<Arc<[Option<LostKey>; CHUNK_PLACES]>>;

/// The table. Cheap to clone: copies share their chunks.
#[derive(Debug, Clone)]
pub(super) struct LostKeys {
    chunks: [Chunk; PLACES / CHUNK_PLACES],
    sum: Sum,
}

impl Default for LostKeys {
    fn default() -> Self {
        Self { chunks: [const { None }; PLACES / CHUNK_PLACES], sum: Sum::default() }
    }
}

impl LostKeys {
    pub fn hash_of(key: &[u8]) -> u64 {
        xxh3_64(key)
    }

    pub fn memory(&self) -> u64 {
        let chunks = self.chunks.iter().flatten().count() as u64;
        chunks * size_of::<[Option<LostKey>; CHUNK_PLACES]>() as u64
    }

    /// Remembers a key; it displaces the one that has its place.
    pub fn add(&mut self, lost: LostKey) {
        let place = place_of(lost.key_hash);
        let chunk = self.chunks[place / CHUNK_PLACES].get_or_insert_with(|| Arc::new([None; CHUNK_PLACES]));
        let displaced = Arc::make_mut(chunk)[place % CHUNK_PLACES].replace(lost);
        if let Some(displaced) = displaced {
            self.sum.subtract(hash(&displaced));
        }
        self.sum.add(hash(&lost));
    }

    pub fn find(&self, key: &str) -> Loss {
        let key_hash = Self::hash_of(key.as_bytes());
        let place = place_of(key_hash);
        match self.chunks[place / CHUNK_PLACES].as_ref().and_then(|chunk| chunk[place % CHUNK_PLACES]) {
            None => Loss::NotAfter(0),
            Some(lost) if lost.key_hash == key_hash => Loss::Known(lost),
            Some(other) => Loss::NotAfter(other.revision),
        }
    }

    /// All that are remembered, by their places.
    pub fn iter(&self) -> impl Iterator<Item = &LostKey> {
        self.chunks.iter().flatten().flat_map(|chunk| chunk.iter().flatten())
    }

    /// Rebuilds the table from what [`LostKeys::iter`] gave; `None` if that is not what it is.
    pub fn restore(lost: impl IntoIterator<Item = LostKey>) -> Option<Self> {
        let (mut table, mut next) = (Self::default(), 0);
        for lost in lost {
            let place = place_of(lost.key_hash);
            if place < next {
                return None;
            }
            next = place + 1;
            table.add(lost);
        }
        Some(table)
    }

    /// For the digest.
    pub fn words(&self) -> [u64; 2] {
        self.sum.words()
    }

    /// The same, computed from scratch.
    pub fn recompute_words(&self) -> [u64; 2] {
        let mut sum = Sum::default();
        self.iter().for_each(|lost| sum.add(hash(lost)));
        sum.words()
    }

    /// Most keys that are remembered.
    pub const MAX: usize = PLACES;
}

fn place_of(key_hash: u64) -> usize {
    key_hash as usize % PLACES
}

fn hash(lost: &LostKey) -> u128 {
    hash_words([lost.key_hash, lost.revision, lost.at_ms, u64::from(lost.expired)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(key: &str, revision: u64) -> LostKey {
        let key_hash = LostKeys::hash_of(key.as_bytes());
        LostKey { key_hash, revision, at_ms: 10 * revision, expired: revision.is_multiple_of(2) }
    }

    #[test]
    fn the_newest_loss_of_a_place_is_known_and_what_it_does_not_tell_too() {
        let mut table = LostKeys::default();
        assert_eq!(table.find("a"), Loss::NotAfter(0));
        // More keys than places, so most displace another.
        let keys: Vec<String> = (0..200_000).map(|number| format!("key-{number}")).collect();
        for (key, revision) in keys.iter().zip(1..) {
            table.add(lost(key, revision));
        }
        assert_eq!(table.words(), table.recompute_words());
        let mut known = 0;
        for (key, revision) in keys.iter().zip(1..) {
            match table.find(key) {
                Loss::Known(found) => {
                    assert_eq!(found, lost(key, revision));
                    known += 1;
                }
                Loss::NotAfter(index) => assert!(index > revision, "the one that displaced it is newer"),
            }
        }
        assert_eq!(known, table.iter().count());
        assert!(known > PLACES / 2 && table.memory() <= 4 << 20, "{known} in {} bytes", table.memory());

        let shared = table.clone();
        table.add(lost("key-0", 300_000));
        assert_ne!(shared.words(), table.words());
        let restored = LostKeys::restore(shared.iter().copied()).expect("well formed");
        assert_eq!((restored.words(), restored.iter().count()), (shared.words(), known));
        let mut reversed: Vec<LostKey> = shared.iter().copied().collect();
        reversed.reverse();
        assert!(LostKeys::restore(reversed).is_none());
    }
}
