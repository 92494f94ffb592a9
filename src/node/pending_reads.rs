//! On the leader: touches of all nodes that are not in the log yet, and the limit on how many may go into it.

use super::own_reads::{NumberedReads, ReadsBefore, entries_max, entries_max_in};
use super::touch_buffer::TouchBuffer;
use crate::cache::{EntryId, Touch, TouchConfig};
use crate::peer::NodeId;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// The allowance is renewed in full within an interval, or within this time if the interval is longer: a long interval
/// means that nodes report rarely, not that they report few reads.
const RENEWAL_MAX: Duration = Duration::from_millis(100);

/// Touches that wait for the next log entry.
#[derive(Default)]
pub(super) struct PendingReads {
    reads: TouchBuffer,
    /// The number of the newest touches from each other node.
    newest: HashMap<NodeId, u64>,
    allowance: Allowance,
}

/// The number of touched entries that may go into the log now. It grows with time, so that writes carry touches even if
/// the interval is long.
#[derive(Debug, Default)]
struct Allowance {
    left: usize,
    renewed: Option<Instant>,
}

impl Allowance {
    /// Grows the allowance by the time since the last renewal. It is full at first.
    fn renew(&mut self, config: TouchConfig) {
        let (now, max) = (Instant::now(), entries_max(config));
        let period = Duration::from_millis(config.interval_ms).min(RENEWAL_MAX);
        let brings = entries_max_in(config, period);
        let Some(renewed) = self.renewed else {
            (self.left, self.renewed) = (max, Some(now));
            return;
        };
        let gained = (now - renewed).as_nanos() * brings as u128 / period.as_nanos().max(1);
        self.left = self.left.saturating_add(usize::try_from(gained).unwrap_or(usize::MAX)).min(max);
        // The time that is too short for one more entry counts for the next renewal.
        let spent = gained * period.as_nanos() / brings.max(1) as u128;
        self.renewed = Some(renewed + Duration::from_nanos(u64::try_from(spent).unwrap_or(u64::MAX)));
    }
}

/// The touches for one log entry.
#[derive(Debug, Default)]
pub(super) struct ForEntry {
    /// All of them, in the order of their last use.
    pub touches: Vec<Touch>,
    /// The touches that the write carried and that were added to the pending ones.
    fresh: Vec<Touch>,
    /// Entries whose touches did not fit and are lost.
    pub lost: usize,
}

impl ForEntry {
    pub fn is_empty(&self) -> bool {
        self.touches.is_empty() && self.fresh.is_empty()
    }
}

impl PendingReads {
    /// The number of touched entries.
    pub fn len(&self) -> usize {
        self.reads.len()
    }

    /// Adds touches. Returns the number of entries that did not fit.
    pub fn add(&mut self, touches: &[Touch], config: TouchConfig) -> usize {
        touches.iter().filter(|touch| !self.reads.add(**touch, entries_max(config))).count()
    }

    /// The same, unless these touches were added before.
    pub fn add_numbered(&mut self, from: NodeId, reads: &NumberedReads, config: TouchConfig) -> usize {
        let newest = self.newest.entry(from).or_default();
        if *newest >= reads.number {
            return 0;
        }
        *newest = reads.number;
        self.add(&reads.touches, config)
    }

    /// Takes the touches for the next log entry, including those of node `by` in `before`: at most `fitting` entries.
    pub fn take_for_entry(
        &mut self,
        by: NodeId,
        before: &ReadsBefore,
        config: TouchConfig,
        fitting: usize,
    ) -> ForEntry {
        let sending = before.sending.as_ref().map_or(0, |sending| self.add_numbered(by, sending, config));
        let max = entries_max(config);
        let fresh: Vec<Touch> =
            before.fresh.iter().filter(|touch| self.reads.add(**touch, max)).copied().collect();
        let lost = sending + before.fresh.len() - fresh.len();
        self.allowance.renew(config);
        let touches = self.reads.take(self.allowance.left.min(fitting));
        self.allowance.left -= touches.len();
        ForEntry { touches, fresh, lost }
    }

    /// Takes back the touches of a log entry that was refused, and their allowance. Those that the write carried return
    /// to the node of its client, so they are removed here. Returns the number of entries that no longer fit.
    pub fn give_back(&mut self, refused: ForEntry, config: TouchConfig) -> usize {
        let ForEntry { mut touches, fresh, .. } = refused;
        self.allowance.left = self.allowance.left.saturating_add(touches.len()).min(entries_max(config));
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
        self.reads.put_back(&touches, entries_max(config))
    }

    /// Drops all touches. Returns the number of entries.
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

    /// The touched entries that go into the log in a second, with a write each millisecond and always enough reads.
    async fn taken_in_a_second(config: TouchConfig) -> usize {
        let mut pending = PendingReads::default();
        let (mut slots, mut taken) = (0.., 0);
        for _ in 0..1_000 {
            advance(Duration::from_millis(1)).await;
            let fresh = slots.by_ref().take(200);
            let fresh =
                fresh.map(|slot| Touch { entry: EntryId { slot, generation: 0 }, count: 1 }).collect();
            let before = ReadsBefore { sending: None, fresh };
            taken += pending.take_for_entry(1, &before, config, usize::MAX).touches.len();
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn the_allowance_grows_with_time_however_long_the_interval() {
        // It is full at first, and then grows by the same number each 100 ms, or each interval.
        assert_eq!(taken_in_a_second(config(60_000, 4_096)).await.abs_diff(4_096 * 11), 41);
        assert_eq!(taken_in_a_second(config(100, 4_096)).await.abs_diff(4_096 * 11), 41);
        assert_eq!(taken_in_a_second(config(10, 100)).await, 100 * 101 - 10);
        // Never faster than `apply` can handle, and never more at a time than one flush.
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
