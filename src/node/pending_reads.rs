//! As leader: reads of all nodes that the log is still to be told of, and how many entries it may be told of.

use super::own_reads::{Before, Numbered, most_of};
use super::touch_buffer::TouchBuffer;
use crate::cache::{Touch, TouchConfig};
use crate::peer::NodeId;
use std::collections::HashMap;

/// What the leader holds for the log.
#[derive(Default)]
pub(super) struct PendingReads {
    reads: TouchBuffer,
    /// The number of the newest reads that each of the others told of.
    newest: HashMap<NodeId, u64>,
    /// Entries that the log may still be told of in this interval.
    allowance: usize,
}

impl PendingReads {
    /// Entries that the log is to be told of.
    pub fn len(&self) -> usize {
        self.reads.len()
    }

    /// A new interval begins.
    pub fn renew_allowance(&mut self, config: TouchConfig) {
        self.allowance = most_of(config);
    }

    /// Adds reads; returns how many entries' did not fit.
    pub fn add(&mut self, touches: &[Touch], config: TouchConfig) -> usize {
        touches.iter().filter(|touch| !self.reads.add(**touch, most_of(config))).count()
    }

    /// The same, unless they were added before.
    pub fn add_numbered(&mut self, from: NodeId, reads: &Numbered, config: TouchConfig) -> usize {
        let newest = self.newest.entry(from).or_default();
        if *newest >= reads.number {
            return 0;
        }
        *newest = reads.number;
        self.add(&reads.touches, config)
    }

    /// Takes out the reads that the next log entry tells of, those of node `by` that are to count `before` it among
    /// them: `fitting` entries at most. Returns how many entries' were lost besides.
    pub fn take_for_entry(
        &mut self,
        by: NodeId,
        before: &Before,
        config: TouchConfig,
        fitting: usize,
    ) -> (Vec<Touch>, usize) {
        let told = before.told.as_ref().map_or(0, |told| self.add_numbered(by, told, config));
        let lost = told + self.add(&before.fresh, config);
        let touches = self.reads.take(self.allowance.min(fitting));
        self.allowance -= touches.len();
        (touches, lost)
    }

    /// Forgets them all; returns how many entries' there were.
    pub fn clear(&mut self) -> usize {
        self.reads.take(usize::MAX).len()
    }
}
