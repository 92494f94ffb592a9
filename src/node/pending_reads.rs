//! As leader: reads of all nodes that the log is still to be told of, and how many entries it may be told of.

use super::own_reads::{Before, Numbered, most_of, most_of_time};
use super::touch_buffer::TouchBuffer;
use crate::cache::{EntryId, Touch, TouchConfig};
use crate::peer::NodeId;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// The allowance is renewed within an interval, or within this time where the interval is longer: that is how seldom the
/// nodes are to tell of reads, not how few.
const RENEWAL_MAX: Duration = Duration::from_millis(100);

/// What the leader holds for the log.
#[derive(Default)]
pub(super) struct PendingReads {
    reads: TouchBuffer,
    /// The number of the newest reads that each of the others told of.
    newest: HashMap<NodeId, u64>,
    allowance: Allowance,
}

/// Entries that the log may be told of now. It grows with time, so that with a long interval writes go on to take reads
/// along.
#[derive(Debug, Default)]
struct Allowance {
    left: usize,
    renewed: Option<Instant>,
}

impl Allowance {
    /// Adds what the time since the last renewal brings. It is whole at first.
    fn renew(&mut self, config: TouchConfig) {
        let (now, most) = (Instant::now(), most_of(config));
        let period = Duration::from_millis(config.interval_ms).min(RENEWAL_MAX);
        let brings = most_of_time(config, period);
        let Some(renewed) = self.renewed else {
            (self.left, self.renewed) = (most, Some(now));
            return;
        };
        let gained = (now - renewed).as_nanos() * brings as u128 / period.as_nanos().max(1);
        self.left = self.left.saturating_add(usize::try_from(gained).unwrap_or(usize::MAX)).min(most);
        // What is not enough for one more is left for the next time.
        let spent = gained * period.as_nanos() / brings.max(1) as u128;
        self.renewed = Some(renewed + Duration::from_nanos(u64::try_from(spent).unwrap_or(u64::MAX)));
    }
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
        self.allowance.renew(config);
        let touches = self.reads.take(self.allowance.left.min(fitting));
        self.allowance.left -= touches.len();
        ForEntry { touches, fresh, lost }
    }

    /// Takes reads back whose entry was refused, and the allowance with them. Those that came with the write itself go back
    /// to the node whose client wrote, so they are taken out again. Returns how many entries' reads do not fit any more.
    pub fn give_back(&mut self, refused: ForEntry, config: TouchConfig) -> usize {
        let ForEntry { mut touches, fresh, .. } = refused;
        self.allowance.left = self.allowance.left.saturating_add(touches.len()).min(most_of(config));
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn config(interval_ms: u64, max_per_flush: u64) -> TouchConfig {
        TouchConfig { interval_ms, max_per_flush, ..TouchConfig::default() }
    }

    /// Entries that a second of writes takes along, a write each millisecond, while there are always reads.
    async fn taken_in_a_second(config: TouchConfig) -> usize {
        let mut pending = PendingReads::default();
        let (mut slots, mut taken) = (0.., 0);
        for _ in 0..1_000 {
            advance(Duration::from_millis(1)).await;
            let fresh = slots.by_ref().take(200);
            let fresh =
                fresh.map(|slot| Touch { entry: EntryId { slot, generation: 0 }, count: 1 }).collect();
            let before = Before { told: None, fresh };
            taken += pending.take_for_entry(1, &before, config, usize::MAX).touches.len();
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn the_allowance_grows_with_time_however_long_the_interval() {
        // It is whole at first, and then grows by so many in each 100 ms, or in each interval.
        assert_eq!(taken_in_a_second(config(60_000, 4_096)).await.abs_diff(4_096 * 11), 41);
        assert_eq!(taken_in_a_second(config(100, 4_096)).await.abs_diff(4_096 * 11), 41);
        assert_eq!(taken_in_a_second(config(10, 100)).await, 100 * 101 - 10);
        // No faster than `apply` can do, and never more at once than a flush.
        assert_eq!(taken_in_a_second(config(60_000, 8_192)).await, 8_192 + 50 * 999);
    }

    #[tokio::test(start_paused = true)]
    async fn an_allowance_of_less_than_one_entry_each_time_adds_up() {
        let mut allowance = Allowance::default();
        allowance.renew(config(100, 1));
        allowance.left = 0;
        for _ in 0..99 {
            advance(Duration::from_millis(1)).await;
            allowance.renew(config(100, 1));
        }
        assert_eq!(allowance.left, 0);
        advance(Duration::from_millis(1)).await;
        allowance.renew(config(100, 1));
        assert_eq!(allowance.left, 1);
    }
}
