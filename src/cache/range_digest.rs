//! Digests of ranges of keys: for whoever keeps a copy of the keys outside the log, and wants to know where it differs.
//!
//! A key and its revision are hashed together, and the hashes of a range are added up, so that a range's digest is the sum of
//! its parts' and does not depend on the order of adding. The hash is SHA-256, which every language has at hand. It is
//! cut to 128 bits: a sum resists accidents, not somebody who chooses keys to hide a difference. (Trees of such hashes are
//! Merkle's; Cassandra and Riak repair replicas by them.)
//!
//! Ranges are found in one pass, with about as many keys in each. There are never more than twice as many as were asked
//! for: when there would be, each two neighbours become one, and later ranges take twice as many keys.

use super::key::Key;
use sha2::{Digest as _, Sha256};

/// Some neighbouring keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyRange {
    /// The last of them.
    pub last: Option<Key>,
    pub keys: u64,
    /// The sum of [`hash_of`] over the keys and their revisions, modulo 2^128.
    pub digest: u128,
}

/// The hash of a key and its revision: the first 16 bytes, as a number, of the SHA-256 of the key, a zero byte (which no
/// key has) and the revision in decimal.
pub fn hash_of(key: &str, revision: u64) -> u128 {
    let mut hash = Sha256::new();
    hash.update(key.as_bytes());
    hash.update([0]);
    hash.update(revision.to_string().as_bytes());
    let hash: [u8; 32] = hash.finalize().into();
    hash[..16].iter().fold(0, |number, byte| (number << 8) | u128::from(*byte))
}

/// Divides keys that come in order into ranges.
#[derive(Debug)]
pub struct Ranges {
    split: usize,
    keys_each: u64,
    found: Vec<KeyRange>,
}

impl Ranges {
    /// Into at least `split` ranges where there are as many keys, and less than twice as many.
    pub fn new(split: usize) -> Self {
        Self { split, keys_each: 1, found: Vec::new() }
    }

    /// Adds the next key.
    pub fn add(&mut self, key: Key, revision: u64) {
        let is_full = self.found.last().is_none_or(|range| range.keys == self.keys_each);
        if is_full && self.found.len() + 1 == 2 * self.split {
            self.halve();
        }
        if self.found.last().is_none_or(|range| range.keys == self.keys_each) {
            self.found.push(KeyRange::default());
        }
        let range = self.found.last_mut().expect("one was added");
        range.digest = range.digest.wrapping_add(hash_of(key.as_str(), revision));
        (range.last, range.keys) = (Some(key), range.keys + 1);
    }

    fn halve(&mut self) {
        self.keys_each *= 2;
        let found = std::mem::take(&mut self.found);
        for range in found {
            match self.found.last_mut() {
                Some(former) if former.keys < self.keys_each => {
                    former.digest = former.digest.wrapping_add(range.digest);
                    (former.last, former.keys) = (range.last, former.keys + range.keys);
                }
                _ => self.found.push(range),
            }
        }
    }

    /// The ranges, in order.
    pub fn into_ranges(self) -> Vec<KeyRange> {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ranges(keys: &[(Key, u64)], split: usize) -> Vec<KeyRange> {
        let mut ranges = Ranges::new(split);
        for (key, revision) in keys {
            ranges.add(key.clone(), *revision);
        }
        ranges.into_ranges()
    }

    fn numbered(count: u64) -> Vec<(Key, u64)> {
        (0..count).map(|n| (Key::new(&format!("k{n:05}")).expect("a key"), n + 1)).collect()
    }

    /// As `printf 'user:1\0007' | sha256sum` has it, so that others can compute it.
    #[test]
    fn the_hash_is_the_one_that_is_documented() {
        assert_eq!(format!("{:032x}", hash_of("user:1", 7)), "3511152903e21d720307464d8eb4c5c4");
        assert_ne!(hash_of("user:1", 7), hash_of("user:17", 7));
        assert_ne!(hash_of("user:1", 17), hash_of("user:11", 7));
    }

    proptest! {
        #[test]
        fn ranges_are_many_enough_and_have_every_key_once(count in 0_u64..5_000, split in 1_usize..70) {
            let keys = numbered(count);
            let found = ranges(&keys, split);
            prop_assert_eq!(found.iter().map(|range| range.keys).sum::<u64>(), count);
            prop_assert!(found.len() < 2 * split || found.len() == 1);
            prop_assert!(found.len() as u64 >= count.min(split as u64));
            prop_assert!(found.windows(2).all(|two| two[0].keys >= two[1].keys));
            let mut at = 0;
            for range in &found {
                let part = &keys[at..at + range.keys as usize];
                at += part.len();
                prop_assert_eq!(range.last.as_ref(), part.last().map(|(key, _)| key));
                let sum = part.iter().fold(0_u128, |sum, (key, revision)| {
                    sum.wrapping_add(hash_of(key.as_str(), *revision))
                });
                prop_assert_eq!(range.digest, sum);
            }
        }
    }
}
