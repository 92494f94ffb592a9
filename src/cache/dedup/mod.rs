//! The answers given to requests that named themselves, so that a retry gets the same answer and is not
//! applied again. Bounded in number, bytes and age; the oldest go first.

pub(super) mod result_codec;

use super::Command;
use super::digest::{HashWriter, Sum, halves, hash_text, hash_words};
use super::limits::{EXPIRE_PER_APPLY_MAX, REMEMBERED_BYTES_MAX, REMEMBERED_MS_MAX, REMEMBERED_OUTCOMES_MAX};
use super::outcome::CommandResult;
use super::window::Window;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

/// One request and its answer.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    pub key: Arc<str>,
    /// Of the command, to tell a retry from another request under the same key.
    pub fingerprint: u128,
    pub at_ms: u64,
    /// As a snapshot has it: a batch's answer takes several times that when it is taken apart.
    answer: Arc<[u8]>,
    answer_hash: u128,
}

impl Memory {
    /// What a memory counts beyond its key and its encoded answer.
    const OVERHEAD_BYTES: u64 = 64;

    pub fn new(key: Arc<str>, fingerprint: u128, at_ms: u64, answer: &CommandResult) -> Self {
        let mut encoded = Vec::new();
        // Writing to memory cannot fail; were it to, all nodes would go on with the same part.
        let _ = result_codec::encode(answer, &mut encoded);
        let answer_hash = hash_answer(&encoded);
        Self { key, fingerprint, at_ms, answer: encoded.into(), answer_hash }
    }

    /// `None` if it cannot be read, which is the same on all nodes, and never happens.
    pub fn answer(&self) -> Option<CommandResult> {
        result_codec::decode_all(&self.answer)
    }

    /// The answer as it is encoded.
    pub fn encoded_answer(&self) -> &[u8] {
        &self.answer
    }

    fn bytes(&self) -> u64 {
        (self.key.len() + self.answer.len()) as u64 + Self::OVERHEAD_BYTES
    }

    fn hash(&self, number: u64, answer_hash: u128) -> u128 {
        let [key_low, key_high] = hash_text(&self.key);
        let [print_low, print_high] = halves(self.fingerprint);
        let [answer_low, answer_high] = halves(answer_hash);
        hash_words([number, key_low, key_high, print_low, print_high, answer_low, answer_high, self.at_ms])
    }
}

/// What tells one command from another: a hash of its canonical encoding.
pub(super) fn fingerprint(command: &Command) -> u128 {
    let mut writer = HashWriter::default();
    // Hashing cannot fail; were it to, all nodes would go on from the same partial hash.
    let _ = postcard::to_io(command, &mut writer);
    writer.finish()
}

fn hash_answer(encoded: &[u8]) -> u128 {
    let mut writer = HashWriter::default();
    // As above.
    let _ = writer.write_all(encoded);
    writer.finish()
}

/// All that is remembered.
#[derive(Debug)]
pub(super) struct Remembered {
    window: Window<Memory>,
    keys: BTreeMap<Arc<str>, u64>,
    bytes: u64,
    sum: Sum,
}

impl Default for Remembered {
    fn default() -> Self {
        Self::restore(Window::starting_at(0))
    }
}

impl Remembered {
    /// Rebuilds from a snapshot's window.
    pub fn restore(window: Window<Memory>) -> Self {
        let mut keys = BTreeMap::new();
        let mut bytes = 0;
        for (number, memory) in window.iter() {
            keys.insert(memory.key.clone(), number);
            bytes += memory.bytes();
        }
        let sum = sum_of(&window, |memory| memory.answer_hash);
        Self { window, keys, bytes, sum }
    }

    pub fn window(&self) -> &Window<Memory> {
        &self.window
    }

    /// What is remembered under a key, unless it is too old.
    pub fn recall(&self, key: &str, now_ms: u64) -> Option<&Memory> {
        let memory = self.window.get(*self.keys.get(key)?)?;
        (!is_old(memory, now_ms)).then_some(memory)
    }

    /// Remembers an answer, and forgets the oldest ones if that is too much.
    pub fn remember(&mut self, memory: Memory) {
        let number = self.window.next();
        self.keys.insert(memory.key.clone(), number);
        self.bytes += memory.bytes();
        self.sum.add(memory.hash(number, memory.answer_hash));
        self.window.push(Some(memory));
        // The newest always stays: without it a retry would be applied twice.
        while self.window.len() > 1
            && (self.window.len() > REMEMBERED_OUTCOMES_MAX as u64 || self.bytes > REMEMBERED_BYTES_MAX)
        {
            self.forget_oldest();
        }
    }

    /// Forgets what is too old, a bounded number at once. (What is left is too old for `recall` as well.)
    pub fn forget_old(&mut self, now_ms: u64) {
        for _ in 0..EXPIRE_PER_APPLY_MAX {
            if !self.window.front().is_some_and(|memory| is_old(memory, now_ms)) {
                return;
            }
            self.forget_oldest();
        }
    }

    /// For the digest: where the window stands, and the sum over it.
    pub fn words(&self) -> [u64; 4] {
        self.window.words(self.sum)
    }

    /// The same, computed anew.
    pub fn recompute_words(&self) -> [u64; 4] {
        self.window.words(sum_of(&self.window, |memory| hash_answer(&memory.answer)))
    }

    fn forget_oldest(&mut self) {
        let Some((number, memory)) = self.window.pop() else { return };
        self.bytes -= memory.bytes();
        self.sum.subtract(memory.hash(number, memory.answer_hash));
        // The key may have been used again since, after its first use had become too old.
        if self.keys.get(&memory.key) == Some(&number) {
            self.keys.remove(&memory.key);
        }
    }
}

fn is_old(memory: &Memory, now_ms: u64) -> bool {
    memory.at_ms.saturating_add(REMEMBERED_MS_MAX) <= now_ms
}

fn sum_of(window: &Window<Memory>, answer_hash: impl Fn(&Memory) -> u128) -> Sum {
    let mut sum = Sum::default();
    for (number, memory) in window.iter() {
        sum.add(memory.hash(number, answer_hash(memory)));
    }
    sum
}
