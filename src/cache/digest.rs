//! The digest: one number for the whole state, which nodes compare to see whether they agree.
//!
//! Every record of the state is hashed by itself, and the hashes are added up (wrapping). To keep a sum current costs only
//! the records that change, and a sum does not depend on the order in which they were added.

use serde::{Deserialize, Serialize};
use std::io::Write;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// A 128-bit hash of a cache's whole state. Equal on all nodes at equal index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Digest(pub u128);

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The sum of the hashes of a set of records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum(u128);

impl Sum {
    pub fn add(&mut self, record: u128) {
        self.0 = self.0.wrapping_add(record);
    }

    pub fn subtract(&mut self, record: u128) {
        self.0 = self.0.wrapping_sub(record);
    }

    pub fn words(self) -> [u64; 2] {
        halves(self.0)
    }
}

/// Hashes a record of numbers.
pub(super) fn hash_words<const N: usize>(words: [u64; N]) -> u128 {
    // (`words.map` would be slower.)
    let mut bytes = [[0; size_of::<u64>()]; N];
    for (bytes, word) in bytes.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    xxh3_128(bytes.as_flattened())
}

/// Hashes a text, as two words of a record.
pub(super) fn hash_text(text: &str) -> [u64; 2] {
    halves(xxh3_128(text.as_bytes()))
}

pub(super) fn halves(hash: u128) -> [u64; 2] {
    [hash as u64, (hash >> 64) as u64]
}

/// Hashes what is written to it.
#[derive(Default)]
pub(super) struct HashWriter {
    state: Box<Xxh3>,
}

impl HashWriter {
    pub fn finish(&self) -> u128 {
        self.state.digest128()
    }
}

impl Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.state.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
