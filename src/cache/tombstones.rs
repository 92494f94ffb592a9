//! What deletes and clears leave behind for a while, so that a stale copy of a key that is written back later can be
//! distinguished from a new one. Evictions and expiry leave nothing: no client asked for them.

use super::digest::{Sum, hash_text, hash_words};
use super::limits::{TOMBSTONES_BYTES_MAX, TOMBSTONES_MAX};
use super::memory::in_tree;
use super::numbered_queue::NumberedQueue;
use super::{Key, digest};
use std::collections::BTreeMap;
use std::ops::Bound;

/// A removal that a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    pub scope: Scope,
    /// Log index of the removal.
    pub revision: u64,
    /// Log time of the removal, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// One key.
    Key(Key),
    /// Every key with this prefix (every key, when it is empty).
    Prefix(String),
}

impl Scope {
    /// Bytes of the text: a key is there once, a prefix twice.
    fn bytes(&self) -> u64 {
        match self {
            Self::Key(key) => key.as_str().len() as u64,
            Self::Prefix(prefix) => 2 * prefix.len() as u64,
        }
    }
}

/// The newest [`TOMBSTONES_MAX`] removals, and fewer if they name more than [`TOMBSTONES_BYTES_MAX`] bytes. A tombstone whose key is written again is taken out, and its number stays as a
/// gap: the limit counts removals, whatever became of their keys.
#[derive(Debug)]
pub(super) struct Tombstones {
    queue: NumberedQueue<Tombstone>,
    keys: BTreeMap<Key, u64>,
    /// The newest clear of each prefix.
    prefixes: BTreeMap<Box<[u8]>, u64>,
    /// Of the keys and prefixes in the queue.
    bytes: u64,
    sum: Sum,
    forgotten: Forgotten,
}

/// The newest removal whose tombstone was dropped to make room for newer ones. All are 0 where none was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Forgotten {
    pub revision: u64,
    pub at_ms: u64,
}

impl Default for Tombstones {
    fn default() -> Self {
        Self {
            queue: NumberedQueue::starting_at(0),
            keys: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            bytes: 0,
            sum: Sum::default(),
            forgotten: Forgotten::default(),
        }
    }
}

impl Tombstones {
    /// Rebuilds the tombstones from a snapshot's queue; `None` when a key has two, or they name more bytes than are kept.
    pub fn restore(queue: NumberedQueue<Tombstone>, forgotten: Forgotten) -> Option<Self> {
        let mut keys = BTreeMap::new();
        let mut prefixes = BTreeMap::new();
        let mut bytes = 0;
        for (number, tombstone) in queue.iter() {
            bytes += tombstone.scope.bytes();
            match &tombstone.scope {
                Scope::Key(key) => {
                    if keys.insert(key.clone(), number).is_some() {
                        return None;
                    }
                }
                Scope::Prefix(prefix) => {
                    prefixes.insert(prefix.as_bytes().into(), number);
                }
            }
        }
        let sum = sum_of(&queue);
        (bytes <= TOMBSTONES_BYTES_MAX).then_some(Self { queue, keys, prefixes, bytes, sum, forgotten })
    }

    /// A text has a length and a count.
    pub fn memory(&self) -> u64 {
        const TEXT_BYTES: u64 = 24;
        let keys = in_tree::<(Key, u64)>(self.keys.len() as u64);
        let prefixes = in_tree::<(Box<[u8]>, u64)>(self.prefixes.len() as u64);
        self.queue.memory() + keys + prefixes + self.bytes + self.queue.len() * TEXT_BYTES
    }

    pub fn queue(&self) -> &NumberedQueue<Tombstone> {
        &self.queue
    }

    pub fn add(&mut self, tombstone: Tombstone) {
        let number = self.queue.next();
        self.sum.add(hash(number, &tombstone));
        self.bytes += tombstone.scope.bytes();
        match &tombstone.scope {
            Scope::Key(key) => {
                self.keys.insert(key.clone(), number);
            }
            Scope::Prefix(prefix) => {
                self.prefixes.insert(prefix.as_bytes().into(), number);
            }
        }
        self.queue.push(Some(tombstone));
        while self.queue.len() > TOMBSTONES_MAX as u64 || self.bytes > TOMBSTONES_BYTES_MAX {
            self.drop_oldest();
        }
        let found_by = (self.keys.len() + self.prefixes.len()) as u64;
        assert!(found_by <= self.queue.len() && self.queue.len() <= TOMBSTONES_MAX as u64);
    }

    /// Removes the tombstone of a key that is written again.
    pub fn remove(&mut self, key: &Key) {
        let Some(number) = self.keys.remove(key) else { return };
        if let Some(tombstone) = self.queue.take(number) {
            self.bytes -= tombstone.scope.bytes();
            self.sum.subtract(hash(number, &tombstone));
        }
    }

    /// The key's own tombstone, else that of the newest clear that covers it.
    pub fn find(&self, key: &str) -> Option<&Tombstone> {
        if let Some(&number) = self.keys.get(key) {
            return self.queue.get(number);
        }
        self.queue.get(self.newest_clear(key.as_bytes())?)
    }

    /// The number of the newest clear that covers a key. A prefix of the key that is not the greatest text up to the key is a
    /// prefix of what that text and the key have in common: so only few are looked at, however many there are.
    fn newest_clear(&self, key: &[u8]) -> Option<u64> {
        let (mut newest, mut end) = (None, key.len());
        loop {
            let up_to = (Bound::Unbounded, Bound::Included(&key[..end]));
            let Some((prefix, &number)) = self.prefixes.range::<[u8], _>(up_to).next_back() else {
                return newest;
            };
            let common = prefix.iter().zip(&key[..end]).take_while(|(one, other)| one == other).count();
            if common == prefix.len() {
                newest = newest.max(Some(number));
            }
            if common == 0 {
                // Only the empty prefix can be left.
                let all = self.prefixes.get::<[u8]>(&[]).copied();
                return newest.max(all);
            }
            // A shorter one.
            end = if common == prefix.len() { common - 1 } else { common };
        }
    }

    pub fn forgotten(&self) -> Forgotten {
        self.forgotten
    }

    /// For the digest: the range of numbers, the sum over the tombstones, and what is forgotten.
    pub fn words(&self) -> [u64; 6] {
        self.words_of(self.sum)
    }

    /// The same, computed from scratch.
    pub fn recompute_words(&self) -> [u64; 6] {
        self.words_of(sum_of(&self.queue))
    }

    fn words_of(&self, sum: Sum) -> [u64; 6] {
        let [first, next, low, high] = self.queue.words(sum);
        [first, next, low, high, self.forgotten.revision, self.forgotten.at_ms]
    }

    fn drop_oldest(&mut self) {
        let Some((number, tombstone)) = self.queue.pop() else { return };
        self.bytes -= tombstone.scope.bytes();
        self.sum.subtract(hash(number, &tombstone));
        // Revisions rise along the queue. Log time need not: a merge leaves tombstones of its other side's time.
        let at_ms = self.forgotten.at_ms.max(tombstone.at_ms);
        self.forgotten = Forgotten { revision: tombstone.revision, at_ms };
        match &tombstone.scope {
            Scope::Key(key) => {
                self.keys.remove(key);
            }
            Scope::Prefix(prefix) => {
                // The prefix may have been cleared again since.
                if self.prefixes.get(prefix.as_bytes()) == Some(&number) {
                    self.prefixes.remove(prefix.as_bytes());
                }
            }
        }
    }
}

fn sum_of(queue: &NumberedQueue<Tombstone>) -> Sum {
    let mut sum = digest::Sum::default();
    for (number, tombstone) in queue.iter() {
        sum.add(hash(number, tombstone));
    }
    sum
}

fn hash(number: u64, tombstone: &Tombstone) -> u128 {
    let (kind, text) = match &tombstone.scope {
        Scope::Key(key) => (0, key.as_str()),
        Scope::Prefix(prefix) => (1, prefix.as_str()),
    };
    let [low, high] = hash_text(text);
    hash_words([number, kind, low, high, tombstone.revision, tombstone.at_ms])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a search of all.
    #[test]
    fn the_newest_clear_that_covers_a_key_is_found_among_many() {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut text = |length: u64| -> String {
            let letter = |_| {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                char::from(b'a' + (random >> 33) as u8 % 3)
            };
            (0..length).map(letter).collect()
        };
        let (mut tombstones, mut clears) = (Tombstones::default(), Vec::<String>::new());
        for revision in 1..=400 {
            let prefix = text(revision % 7);
            tombstones.add(Tombstone { scope: Scope::Prefix(prefix.clone()), revision, at_ms: revision });
            clears.push(prefix);
            for length in 0..10 {
                let key = text(length);
                let newest = clears.iter().rposition(|prefix| key.starts_with(prefix.as_str()));
                let found = tombstones.find(&key).map(|found| found.revision as usize - 1);
                assert_eq!(found, newest, "{key:?} after {revision} clears");
            }
        }
    }
}
