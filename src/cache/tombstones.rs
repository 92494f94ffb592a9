//! What deletes and clears leave behind for a while, so that a stale copy of a key that is written back later can be
//! distinguished from a new one. Evictions and expiry leave nothing: no client asked for them.

use super::digest::{Sum, hash_text, hash_words};
use super::limits::TOMBSTONES_MAX;
use super::memory::in_tree;
use super::numbered_queue::NumberedQueue;
use super::{Key, digest};
use std::collections::{BTreeMap, VecDeque};

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

/// The newest [`TOMBSTONES_MAX`] removals. A tombstone whose key is written again is taken out, and its number stays as a
/// gap: the limit counts removals, whatever became of their keys.
#[derive(Debug)]
pub(super) struct Tombstones {
    queue: NumberedQueue<Tombstone>,
    keys: BTreeMap<Key, u64>,
    prefixes: VecDeque<u64>,
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
            prefixes: VecDeque::new(),
            sum: Sum::default(),
            forgotten: Forgotten::default(),
        }
    }
}

impl Tombstones {
    /// Rebuilds the tombstones from a snapshot's queue; `None` when a key has two.
    pub fn restore(queue: NumberedQueue<Tombstone>, forgotten: Forgotten) -> Option<Self> {
        let mut keys = BTreeMap::new();
        let mut prefixes = VecDeque::new();
        for (number, tombstone) in queue.iter() {
            match &tombstone.scope {
                Scope::Key(key) => {
                    if keys.insert(key.clone(), number).is_some() {
                        return None;
                    }
                }
                Scope::Prefix(_) => prefixes.push_back(number),
            }
        }
        let sum = sum_of(&queue);
        Some(Self { queue, keys, prefixes, sum, forgotten })
    }

    /// A key has its text twice, each with a length and a count.
    pub fn memory(&self) -> u64 {
        const TEXT_BYTES: u64 = 48;
        let keys = in_tree::<(Key, u64)>(self.keys.len() as u64);
        self.queue.memory() + keys + self.queue.len() * TEXT_BYTES
    }

    pub fn queue(&self) -> &NumberedQueue<Tombstone> {
        &self.queue
    }

    pub fn add(&mut self, tombstone: Tombstone) {
        let number = self.queue.next();
        self.sum.add(hash(number, &tombstone));
        match &tombstone.scope {
            Scope::Key(key) => {
                self.keys.insert(key.clone(), number);
            }
            Scope::Prefix(_) => self.prefixes.push_back(number),
        }
        self.queue.push(Some(tombstone));
        if self.queue.len() > TOMBSTONES_MAX as u64 {
            self.drop_oldest();
        }
        let found_by = (self.keys.len() + self.prefixes.len()) as u64;
        assert!(found_by <= self.queue.len() && self.queue.len() <= TOMBSTONES_MAX as u64);
    }

    /// Removes the tombstone of a key that is written again.
    pub fn remove(&mut self, key: &Key) {
        let Some(number) = self.keys.remove(key) else { return };
        if let Some(tombstone) = self.queue.take(number) {
            self.sum.subtract(hash(number, &tombstone));
        }
    }

    /// The key's own tombstone, else that of the newest clear that covers it.
    pub fn find(&self, key: &str) -> Option<&Tombstone> {
        if let Some(&number) = self.keys.get(key) {
            return self.queue.get(number);
        }
        let mut newest_first = self.prefixes.iter().rev().filter_map(|&number| self.queue.get(number));
        newest_first.find(|t| matches!(&t.scope, Scope::Prefix(prefix) if key.starts_with(prefix.as_str())))
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
        self.sum.subtract(hash(number, &tombstone));
        // Revisions rise along the queue. Log time need not: a merge leaves tombstones of its other side's time.
        let at_ms = self.forgotten.at_ms.max(tombstone.at_ms);
        self.forgotten = Forgotten { revision: tombstone.revision, at_ms };
        match &tombstone.scope {
            Scope::Key(key) => {
                self.keys.remove(key);
            }
            Scope::Prefix(_) => {
                self.prefixes.pop_front();
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
