//! The keys evicted last, as fingerprints: one of them that comes back was let go too early.

use crate::cache::digest::{Sum, hash_words};
use crate::cache::window::Window;
use std::collections::BTreeMap;
use std::num::NonZeroU32;

/// How many of the oldest are forgotten for one that is noted: more than one, so that a limit that has become
/// smaller is reached in time.
const FORGET_PER_NOTE: usize = 2;

/// A queue of fingerprints. One that comes back leaves a gap.
#[derive(Debug)]
pub(super) struct Ghost {
    window: Window<NonZeroU32>,
    /// The number of each in the window, its lower half: no window is longer than that.
    numbers: BTreeMap<NonZeroU32, u32>,
    sum: Sum,
}

impl Default for Ghost {
    fn default() -> Self {
        Self { window: Window::starting_at(0), numbers: BTreeMap::new(), sum: Sum::default() }
    }
}

impl Ghost {
    /// Builds it from the window of a snapshot; `None` when a fingerprint is there twice.
    pub fn restore(window: Window<NonZeroU32>) -> Option<Self> {
        let mut numbers = BTreeMap::new();
        for (number, &fingerprint) in window.iter() {
            if numbers.insert(fingerprint, number as u32).is_some() {
                return None;
            }
        }
        let sum = sum_of(&window);
        Some(Self { window, numbers, sum })
    }

    pub fn window(&self) -> &Window<NonZeroU32> {
        &self.window
    }

    /// Places taken, gaps too.
    pub fn len(&self) -> u64 {
        self.window.len()
    }

    /// Notes a key, and forgets the oldest ones beyond the limit.
    pub fn note(&mut self, fingerprint: u32, limit: u64) {
        let fingerprint = some(fingerprint);
        self.take(fingerprint);
        let number = self.window.push(Some(fingerprint));
        self.numbers.insert(fingerprint, number as u32);
        self.sum.add(hash(number, fingerprint));
        for _ in 0..FORGET_PER_NOTE {
            if self.len() > limit {
                self.forget_oldest();
            }
        }
    }

    /// Whether a key was noted; it is forgotten with that.
    pub fn recall(&mut self, fingerprint: u32) -> bool {
        self.take(some(fingerprint))
    }

    pub fn forget_oldest(&mut self) {
        if let Some((number, fingerprint)) = self.window.pop() {
            self.numbers.remove(&fingerprint);
            self.sum.subtract(hash(number, fingerprint));
        }
    }

    /// For the digest: where the window stands, and the sum over it.
    pub fn words(&self) -> [u64; 4] {
        self.window.words(self.sum)
    }

    /// The same, computed anew.
    pub fn recompute_words(&self) -> [u64; 4] {
        self.window.words(sum_of(&self.window))
    }

    fn take(&mut self, fingerprint: NonZeroU32) -> bool {
        let Some(low) = self.numbers.remove(&fingerprint) else { return false };
        let next = self.window.next();
        let number = next - u64::from((next as u32).wrapping_sub(low));
        self.window.take(number);
        self.sum.subtract(hash(number, fingerprint));
        true
    }
}

/// 0 stands for a gap, so the key that has it shares the fingerprint of others.
fn some(fingerprint: u32) -> NonZeroU32 {
    NonZeroU32::new(fingerprint).unwrap_or(NonZeroU32::MAX)
}

fn hash(number: u64, fingerprint: NonZeroU32) -> u128 {
    hash_words([number, u64::from(fingerprint.get())])
}

fn sum_of(window: &Window<NonZeroU32>) -> Sum {
    let mut sum = Sum::default();
    for (number, &fingerprint) in window.iter() {
        sum.add(hash(number, fingerprint));
    }
    sum
}
