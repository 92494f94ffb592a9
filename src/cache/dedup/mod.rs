//! The results of requests that carried an idempotency key, so that a retry gets the same result and is not applied
//! again. Bounded in number, bytes and age; the oldest are dropped first.

pub(super) mod result_codec;
mod session_codec;

use super::Command;
use super::digest::{HashWriter, Sum, halves, hash_text, hash_words};
use super::limits::{DEDUP_BYTES_MAX, DEDUP_MS_MAX, DEDUP_RESULTS_MAX, EXPIRE_PER_APPLY_MAX};
use super::memory::in_tree;
use super::numbered_queue::NumberedQueue;
use super::outcome::CommandResult;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

/// One request and its result.
#[derive(Debug, Clone)]
pub(super) struct DedupEntry {
    pub key: Arc<str>,
    /// Of the command, to tell a retry from another request under the same key.
    pub fingerprint: u128,
    /// Of the log entry.
    pub index: u64,
    pub at_ms: u64,
    /// Encoded as in a snapshot: the result of a batch takes several times as much memory when it is decoded.
    result: Arc<[u8]>,
    result_hash: u128,
}

impl DedupEntry {
    /// What an entry counts beyond its key and its encoded result.
    const OVERHEAD_BYTES: u64 = 64;

    pub fn new(key: Arc<str>, fingerprint: u128, (index, at_ms): (u64, u64), result: &CommandResult) -> Self {
        let mut encoded = Vec::new();
        // Writing to memory cannot fail; if it did, every node would store the same part.
        let _ = result_codec::encode(result, &mut encoded);
        let result_hash = hash_result(&encoded);
        Self { key, fingerprint, index, at_ms, result: encoded.into(), result_hash }
    }

    /// The result; `None` if it cannot be decoded, which never happens, and would be the same on all nodes.
    pub fn result(&self) -> Option<CommandResult> {
        result_codec::decode_all(&self.result)
    }

    /// The result as it is encoded.
    pub fn encoded_result(&self) -> &[u8] {
        &self.result
    }

    fn bytes(&self) -> u64 {
        (self.key.len() + self.result.len()) as u64 + Self::OVERHEAD_BYTES
    }

    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.at_ms.saturating_add(DEDUP_MS_MAX) <= now_ms
    }

    fn hash(&self, number: u64, result_hash: u128) -> u128 {
        let [key_low, key_high] = hash_text(&self.key);
        let [print_low, print_high] = halves(self.fingerprint);
        let [result_low, result_high] = halves(result_hash);
        let [index, at_ms] = [self.index, self.at_ms];
        hash_words([number, key_low, key_high, print_low, print_high, result_low, result_high, index, at_ms])
    }
}

/// Identifies a command: a hash of its canonical encoding.
pub(super) fn fingerprint(command: &Command) -> u128 {
    let mut writer = HashWriter::default();
    // Hashing cannot fail; if it did, every node would continue with the same partial hash.
    let _ = postcard::to_io(command, &mut writer);
    writer.finish()
}

fn hash_result(encoded: &[u8]) -> u128 {
    let mut writer = HashWriter::default();
    // As above.
    let _ = writer.write_all(encoded);
    writer.finish()
}

/// All stored results, by idempotency key.
#[derive(Debug)]
pub(super) struct DedupTable {
    queue: NumberedQueue<DedupEntry>,
    keys: BTreeMap<Arc<str>, u64>,
    bytes: u64,
    sum: Sum,
    /// Index of the newest result that was dropped; 0 if none was.
    forgotten: u64,
}

impl Default for DedupTable {
    fn default() -> Self {
        Self::restore(NumberedQueue::starting_at(0), 0)
    }
}

impl DedupTable {
    /// Rebuilds the table from a snapshot's queue.
    pub fn restore(queue: NumberedQueue<DedupEntry>, forgotten: u64) -> Self {
        let mut keys = BTreeMap::new();
        let mut bytes = 0;
        for (number, entry) in queue.iter() {
            keys.insert(entry.key.clone(), number);
            bytes += entry.bytes();
        }
        let sum = sum_of(&queue, |entry| entry.result_hash);
        Self { queue, keys, bytes, sum, forgotten }
    }

    /// A key and a result have a length and a count each.
    pub fn memory(&self) -> u64 {
        const HEADS_BYTES: u64 = 48;
        let keys = in_tree::<(Arc<str>, u64)>(self.keys.len() as u64);
        let texts = self.bytes.saturating_sub(self.queue.len() * DedupEntry::OVERHEAD_BYTES);
        self.queue.memory() + keys + texts + self.queue.len() * HEADS_BYTES
    }

    pub fn queue(&self) -> &NumberedQueue<DedupEntry> {
        &self.queue
    }

    /// The entry of a key, expired or not.
    pub fn find(&self, key: &str) -> Option<&DedupEntry> {
        self.queue.get(*self.keys.get(key)?)
    }

    /// Index of the newest result that was dropped; 0 if none was.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Stores a result, and drops the oldest ones beyond the limits.
    pub fn insert(&mut self, entry: DedupEntry) {
        let number = self.queue.next();
        self.keys.insert(entry.key.clone(), number);
        self.bytes += entry.bytes();
        self.sum.add(entry.hash(number, entry.result_hash));
        self.queue.push(Some(entry));
        // The newest always stays: without it a retry would be applied twice.
        while self.queue.len() > 1
            && (self.queue.len() > DEDUP_RESULTS_MAX as u64 || self.bytes > DEDUP_BYTES_MAX)
        {
            self.drop_oldest();
        }
        assert!(self.keys.len() as u64 <= self.queue.len(), "a key finds one result");
    }

    /// Drops expired entries, a bounded number at once.
    pub fn drop_expired(&mut self, now_ms: u64) {
        for _ in 0..EXPIRE_PER_APPLY_MAX {
            if !self.queue.front().is_some_and(|entry| entry.is_expired(now_ms)) {
                return;
            }
            self.drop_oldest();
        }
    }

    /// For the digest: the range of numbers, the sum over the entries, and what was dropped.
    pub fn words(&self) -> [u64; 5] {
        let [first, next, low, high] = self.queue.words(self.sum);
        [first, next, low, high, self.forgotten]
    }

    /// The same, computed from scratch.
    pub fn recompute_words(&self) -> [u64; 5] {
        let sum = sum_of(&self.queue, |entry| hash_result(&entry.result));
        let [first, next, low, high] = self.queue.words(sum);
        [first, next, low, high, self.forgotten]
    }

    fn drop_oldest(&mut self) {
        let Some((number, entry)) = self.queue.pop() else { return };
        self.forgotten = entry.index;
        self.bytes -= entry.bytes();
        self.sum.subtract(entry.hash(number, entry.result_hash));
        // The key may have been used again since, after this entry had expired.
        if self.keys.get(&entry.key) == Some(&number) {
            self.keys.remove(&entry.key);
        }
    }
}

fn sum_of(queue: &NumberedQueue<DedupEntry>, result_hash: impl Fn(&DedupEntry) -> u128) -> Sum {
    let mut sum = Sum::default();
    for (number, entry) in queue.iter() {
        sum.add(entry.hash(number, result_hash(entry)));
    }
    sum
}
