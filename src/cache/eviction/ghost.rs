//! The ghost queue: fingerprints of the keys evicted last. A key that comes back while it is here was evicted too
//! early.

use super::eviction_policy::PolicyState;
use super::fingerprint_map::FingerprintMap;
use crate::cache::codec::{DecodeError, Decoder, put_u32};
use crate::cache::digest::{Sum, hash_words};
use crate::cache::limits::CAPACITY_ENTRIES_MAX;
use crate::cache::numbered_queue::NumberedQueue;
use std::io::{self, BufRead, Write};
use std::num::NonZeroU32;

/// How many of the oldest are dropped for each that is added: more than one, so that the queue shrinks when its limit
/// does.
const DROPPED_PER_ADD: usize = 2;

/// Fingerprints in the order of evictions. One that is taken out leaves a gap.
#[derive(Debug)]
pub(super) struct Ghost {
    queue: NumberedQueue<NonZeroU32>,
    /// The low 32 bits of each fingerprint's number. No queue is longer than 2^32, so they identify it.
    numbers: FingerprintMap,
    sum: Sum,
}

impl Default for Ghost {
    fn default() -> Self {
        Self { queue: NumberedQueue::starting_at(0), numbers: FingerprintMap::default(), sum: Sum::default() }
    }
}

impl Ghost {
    /// Reads what [`PolicyState::encode`] wrote.
    pub fn decode(source: &mut Decoder<impl BufRead>) -> Result<Self, DecodeError> {
        let fingerprint = |source: &mut Decoder<_>| {
            NonZeroU32::new(source.u32()?).ok_or(DecodeError::Damaged("a fingerprint is 0"))
        };
        let queue = NumberedQueue::decode(source, CAPACITY_ENTRIES_MAX as usize, fingerprint)?;
        let mut numbers = FingerprintMap::default();
        for (number, &fingerprint) in queue.iter() {
            if numbers.insert(fingerprint, number as u32).is_some() {
                return Err(DecodeError::Damaged("a key was evicted twice"));
            }
        }
        let sum = sum_of(&queue);
        Ok(Self { queue, numbers, sum })
    }

    /// A copy for a snapshot.
    pub fn state(&self) -> Box<dyn PolicyState> {
        Box::new(self.queue.clone())
    }

    pub fn memory(&self) -> u64 {
        self.queue.memory() + self.numbers.memory()
    }

    /// Fingerprints and gaps.
    pub fn len(&self) -> u64 {
        self.queue.len()
    }

    /// Adds a key, and drops the oldest ones beyond the limit.
    pub fn add(&mut self, fingerprint: u32, limit: u64) {
        let fingerprint = non_zero(fingerprint);
        self.take(fingerprint);
        let number = self.queue.push(Some(fingerprint));
        self.numbers.insert(fingerprint, number as u32);
        self.sum.add(hash(number, fingerprint));
        for _ in 0..DROPPED_PER_ADD {
            if self.len() > limit {
                self.drop_oldest();
            }
        }
        assert!(self.numbers.len() <= self.len(), "a fingerprint is in the queue once");
    }

    /// Takes a key out; false when it is not there.
    pub fn remove(&mut self, fingerprint: u32) -> bool {
        self.take(non_zero(fingerprint))
    }

    pub fn drop_oldest(&mut self) {
        if let Some((number, fingerprint)) = self.queue.pop() {
            self.numbers.remove(fingerprint);
            self.sum.subtract(hash(number, fingerprint));
        }
    }

    /// For the digest, kept current.
    pub fn digest_words(&self) -> [u64; 4] {
        self.queue.words(self.sum)
    }

    fn take(&mut self, fingerprint: NonZeroU32) -> bool {
        let Some(low) = self.numbers.remove(fingerprint) else { return false };
        let next = self.queue.next();
        let number = next - u64::from((next as u32).wrapping_sub(low));
        self.queue.take(number);
        self.sum.subtract(hash(number, fingerprint));
        true
    }
}

impl PolicyState for NumberedQueue<NonZeroU32> {
    fn encode(&self, mut out: &mut dyn Write) -> io::Result<()> {
        NumberedQueue::encode(self, &mut out, |out, fingerprint| put_u32(out, fingerprint.get()))
    }

    fn digest_words(&self) -> [u64; 4] {
        self.words(sum_of(self))
    }
}

/// A key whose fingerprint is 0 shares another one, as any two keys may.
fn non_zero(fingerprint: u32) -> NonZeroU32 {
    NonZeroU32::new(fingerprint).unwrap_or(NonZeroU32::MAX)
}

fn hash(number: u64, fingerprint: NonZeroU32) -> u128 {
    hash_words([number, u64::from(fingerprint.get())])
}

fn sum_of(queue: &NumberedQueue<NonZeroU32>) -> Sum {
    let mut sum = Sum::default();
    for (number, &fingerprint) in queue.iter() {
        sum.add(hash(number, fingerprint));
    }
    sum
}
