//! The digests of a replica's recent states, for the audit that compares nodes.

use crate::cache::Digest;
use std::collections::VecDeque;

/// How many (index, digest) pairs are kept for comparison with other nodes.
const DIGESTS_KEPT: usize = 1_024;
/// Under load the newest digests of two nodes may not overlap, so every 1,024th index is a checkpoint whose digest is
/// kept for longer.
const CHECKPOINT_EVERY: u64 = 1_024;
const CHECKPOINTS_KEPT: usize = 256;
/// How many of the newest digests are compared besides the checkpoints.
const NEWEST_COMPARED: usize = 128;

/// (index, digest) pairs, oldest first.
#[derive(Debug)]
pub(super) struct DigestHistory {
    newest: VecDeque<(u64, Digest)>,
    checkpoints: VecDeque<(u64, Digest)>,
}

impl Default for DigestHistory {
    fn default() -> Self {
        Self { newest: VecDeque::with_capacity(DIGESTS_KEPT), checkpoints: VecDeque::new() }
    }
}

impl DigestHistory {
    /// Adds the digest of the state after the entry at `index`.
    pub fn record(&mut self, index: u64, digest: Digest) {
        push_bounded(&mut self.newest, (index, digest), DIGESTS_KEPT);
        if index.is_multiple_of(CHECKPOINT_EVERY) {
            push_bounded(&mut self.checkpoints, (index, digest), CHECKPOINTS_KEPT);
        }
    }

    /// The newest pairs.
    pub fn newest(&self) -> Vec<(u64, Digest)> {
        self.newest.iter().copied().collect()
    }

    /// The pairs to compare with another node's.
    pub fn comparable(&self) -> Vec<(u64, Digest)> {
        let newest = self.newest.iter().skip(self.newest.len().saturating_sub(NEWEST_COMPARED));
        self.checkpoints.iter().chain(newest).copied().collect()
    }
}

fn push_bounded(pairs: &mut VecDeque<(u64, Digest)>, pair: (u64, Digest), max: usize) {
    if pairs.len() == max {
        pairs.pop_front();
    }
    pairs.push_back(pair);
}
