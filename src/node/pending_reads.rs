//! As leader: reads of all nodes that the log is still to be told of, and how many entries it may be told of.

use super::own_reads::{Before, Numbered, most_of};
use super::touch_buffer::TouchBuffer;
use crate::cache::{EntryId, Touch, TouchConfig};
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

/// The reads that a log entry is to tell of.
#[derive(Debug, Default)]
pub(super) struct ForEntry {
    /// All of them, in the order of their last use.
    pub touches: Vec<Touch>,
    /// Those that came with the write and were added to what was pending.
    fresh: Vec<Touch>,
    /// Entries whose reads were lost for want of room.
    pub lost: usize,
}

impl ForEntry {
    pub fn is_empty(&self) -> bool {
        self.touches.is_empty() && self.fresh.is_empty()
    }
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
    /// them: `fitting` entries at most.
    pub fn take_for_entry(
        &mut self,
        by: NodeId,
        before: &Before,
        config: TouchConfig,
        fitting: usize,
    ) -> ForEntry {
        let told = before.told.as_ref().map_or(0, |told| self.add_numbered(by, told, config));
        let most = most_of(config);
        let fresh: Vec<Touch> =
            before.fresh.iter().filter(|touch| self.reads.add(**touch, most)).copied().collect();
        let lost = told + before.fresh.len() - fresh.len();
        let touches = self.reads.take(self.allowance.min(fitting));
        self.allowance -= touches.len();
        ForEntry { touches, fresh, lost }
    }

    /// Takes reads back whose entry was refused, and the allowance with them. Those that came with the write itself go back
    /// to the node whose client wrote, so they are taken out again. Returns how many entries' reads do not fit any more.
    pub fn give_back(&mut self, refused: ForEntry, config: TouchConfig) -> usize {
        let ForEntry { mut touches, fresh, .. } = refused;
        self.allowance = self.allowance.saturating_add(touches.len()).min(most_of(config));
        let mut counts: HashMap<EntryId, u16> = HashMap::new();
        for touch in fresh {
            let count = counts.entry(touch.entry).or_default();
            *count = count.saturating_add(touch.count);
        }
        for touch in &mut touches {
            touch.count = touch.count.saturating_sub(counts.remove(&touch.entry).unwrap_or(0));
        }
        touches.retain(|touch| touch.count > 0);
        counts.into_iter().for_each(|(entry, count)| self.reads.subtract(Touch { entry, count }));
        self.reads.put_back(&touches, most_of(config))
    }

    /// Forgets them all; returns how many entries' there were.
    pub fn clear(&mut self) -> usize {
        self.reads.take(usize::MAX).len()
    }
}
