//! Touches: how reads on any node get into the log, so that they count for eviction on all nodes.
//!
//! Each node collects its own reads. The next write of that node's clients carries them, in the same log entry and
//! applied before the command: a client that reads and then writes through one node, and waits for each answer, finds
//! its reads counted. Touches that no write carries are sent to the leader after an interval, and go into its next
//! entry. An idle cluster that is read from writes one log entry per interval, or one per second if the reads do not
//! change the eviction order. Without reads it writes none. Touches are hints, so lost ones are not sent again.

use super::answered_uses::AnsweredUses;
use super::hot_keys::HotKeys;
use super::inner::Inner;
use super::own_reads::{COUNT_INTERVAL, Delivery, NumberedReads, OwnReads, ReadsBefore};
use super::pending_reads::{ForEntry, PendingReads};
use super::read_samples::ReadSamples;
use crate::cache::{CacheConfig, Command, Seen, TouchConfig};
use crate::peer::{Lane, Method, NodeId, PeerError};
use crate::raft::Deadlines;
use crate::replica::{COMMAND_BYTES_MAX, Envelope, encode_touches, from_postcard, to_bytes};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often the settings are read: an operator can shorten a long interval at any time.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Timeout of a message to the leader. Only the next message waits for it.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);
/// Timeout of a tick that carries touches.
const TICK_TIMEOUT: Duration = Duration::from_secs(1);
/// Most bytes that the touch of one entry takes in the log, with its share of the length before all of them.
const TOUCH_BYTES_MAX: usize = 16;

/// Touches on their way into the log, and what this node learns from reads.
#[derive(Default)]
pub(super) struct Touches {
    /// Touches of this node's reads that the leader does not have yet.
    own: Mutex<OwnReads>,
    answered: Mutex<AnsweredUses>,
    /// On the leader: touches of all nodes that are not in the log yet.
    pending: Mutex<PendingReads>,
    /// The number of entries in `pending`, to be read without the lock.
    pending_entries: AtomicUsize,
    /// Proposals made here since the last flush.
    proposals: AtomicU64,
    pub samples: ReadSamples,
    pub hot_keys: HotKeys,
    pub counts: TouchCounts,
}

/// Counts of this node since it started.
#[derive(Debug, Default)]
pub(super) struct TouchCounts {
    pub hits: AtomicU64,
    pub misses: AtomicU64,
    /// Entries whose touches were sent to the leader, counted once per message.
    pub sent: AtomicU64,
    /// Reads that do not change the eviction order; they are counted later than others.
    pub suppressed: AtomicU64,
    /// Reads, or touched entries, that did not fit or were lost on the way.
    pub dropped: AtomicU64,
    /// Log entries proposed here with touches, and the bytes of these touches.
    pub log_entries: AtomicU64,
    pub log_bytes: AtomicU64,
}

/// Touches that a write of this node's client carries. If this is dropped without `end`, it is unknown whether the
/// leader has them.
pub(super) struct CarriedReads<'a> {
    of: &'a Touches,
    pub before: ReadsBefore,
}

impl CarriedReads<'_> {
    /// The write has ended.
    pub fn end(mut self, delivery: Delivery, config: impl FnOnce() -> TouchConfig) {
        let before = std::mem::take(&mut self.before);
        if !before.is_empty() {
            self.of.after_write(&before, delivery, config());
        }
    }
}

impl Drop for CarriedReads<'_> {
    fn drop(&mut self) {
        // Nothing is put back, so the settings do not matter.
        self.of.after_write(&self.before, Delivery::Unknown, TouchConfig::default());
    }
}

/// The touches in a proposed log entry. They are counted when this is dropped, unless the entry was refused.
pub(super) struct EntryReads<'a> {
    of: &'a Touches,
    reads: ForEntry,
    encoded: Bytes,
}

impl EntryReads<'_> {
    /// The touches as they are in the log; empty for none.
    pub fn encoded(&self) -> Bytes {
        self.encoded.clone()
    }

    /// The entry was not proposed: touches of other nodes wait for the next entry, and those that the write carried
    /// belong to the node of its client again.
    pub fn give_back(mut self, config: impl FnOnce() -> TouchConfig) {
        let reads = std::mem::take(&mut self.reads);
        self.encoded.clear();
        if !reads.is_empty() {
            let mut pending = lock(&self.of.pending);
            let lost = pending.give_back(reads, config());
            self.of.pending_entries.store(pending.len(), Relaxed);
            drop(pending);
            self.of.counts.dropped.fetch_add(lost as u64, Relaxed);
        }
    }
}

impl Drop for EntryReads<'_> {
    fn drop(&mut self) {
        let counts = &self.of.counts;
        counts.dropped.fetch_add(self.reads.lost as u64, Relaxed);
        if !self.encoded.is_empty() {
            counts.log_entries.fetch_add(1, Relaxed);
            counts.log_bytes.fetch_add(self.encoded.len() as u64, Relaxed);
        }
    }
}

/// A node's message to the leader.
#[derive(Debug, Default, Serialize, Deserialize)]
struct TouchMessage {
    reads: Option<NumberedReads>,
    /// Hashes of the sampled keys that were read.
    samples: Vec<u64>,
}

impl Touches {
    /// Records a read of a key, found or not. Returns how often the entry was used before, including reads of this node
    /// that are not in the log yet. In a small cache (`exact`) all touches keep the order of their reads.
    pub fn note(&self, key: &str, seen: Option<&Seen>, config: TouchConfig, exact: bool) -> u64 {
        self.hot_keys.note(key);
        self.samples.note(key, config);
        let Some(seen) = seen else {
            self.counts.misses.fetch_add(1, Relaxed);
            return 0;
        };
        self.counts.hits.fetch_add(1, Relaxed);
        if !config.enabled {
            return seen.uses;
        }
        if !seen.matters {
            self.counts.suppressed.fetch_add(1, Relaxed);
        }
        let (waiting, had_room) = lock(&self.own).note(seen.entry, seen.matters, config, exact);
        if !had_room {
            self.counts.dropped.fetch_add(1, Relaxed);
        }
        lock(&self.answered).before(seen.entry, seen.uses + waiting)
    }

    /// The touches so far, to be applied before a write that starts now.
    pub fn before_write(&self) -> CarriedReads<'_> {
        CarriedReads { of: self, before: lock(&self.own).before_write() }
    }

    fn after_write(&self, before: &ReadsBefore, delivery: Delivery, config: TouchConfig) {
        if !before.is_empty() {
            let lost = lock(&self.own).after_write(before, delivery, config);
            self.counts.dropped.fetch_add(lost as u64, Relaxed);
        }
    }

    /// On the leader: the touches for the next log entry. `before` are those of node `by`, whose client writes; the
    /// command has `body` bytes.
    pub fn for_entry(
        &self,
        by: NodeId,
        before: &ReadsBefore,
        config: impl FnOnce() -> TouchConfig,
        body: usize,
    ) -> EntryReads<'_> {
        self.proposals.fetch_add(1, Relaxed);
        if before.is_empty() && self.pending_entries.load(Relaxed) == 0 {
            return EntryReads { of: self, reads: ForEntry::default(), encoded: Bytes::new() };
        }
        let fitting = COMMAND_BYTES_MAX.saturating_sub(body) / TOUCH_BYTES_MAX;
        let mut pending = lock(&self.pending);
        let reads = pending.take_for_entry(by, before, config(), fitting);
        self.pending_entries.store(pending.len(), Relaxed);
        drop(pending);
        let encoded = encode_touches(&reads.touches);
        EntryReads { of: self, reads, encoded }
    }

    /// On the leader: merges a node's message. Returns the sampling rate, as one key in so many.
    fn merge(&self, from: NodeId, message: &TouchMessage, config: &CacheConfig) -> u64 {
        let mut pending = lock(&self.pending);
        let reads = message.reads.as_ref();
        let lost = reads.map_or(0, |reads| pending.add_numbered(from, reads, config.touch));
        self.pending_entries.store(pending.len(), Relaxed);
        drop(pending);
        self.counts.dropped.fetch_add(lost as u64, Relaxed);
        self.samples.merge(&message.samples)
    }

    /// On a follower: the message to send to the leader now.
    fn begin_send(&self, since_all: Duration, applied: u64) -> TouchMessage {
        let reads = lock(&self.own).begin_send(since_all, applied);
        TouchMessage { reads, samples: self.samples.take() }
    }

    fn end_send(&self, delivery: Delivery, config: TouchConfig) {
        let lost = lock(&self.own).end_send(delivery, config);
        self.counts.dropped.fetch_add(lost as u64, Relaxed);
    }

    /// On the leader: moves its own touches to the pending ones, under both locks, so that no write comes in between.
    fn merge_own(&self, since_all: Duration, config: &CacheConfig) {
        let mut own = lock(&self.own);
        let message = TouchMessage { reads: None, samples: self.samples.take() };
        let mut lost = 0;
        if own.is_due(since_all) {
            let touches = own.take(since_all);
            self.counts.sent.fetch_add(touches.len() as u64, Relaxed);
            let mut pending = lock(&self.pending);
            lost = pending.add(&touches, config.touch);
            self.pending_entries.store(pending.len(), Relaxed);
        }
        drop(own);
        self.counts.dropped.fetch_add(lost as u64, Relaxed);
        self.merge(0, &message, config);
    }

    /// On a node that does not lead: drops the pending touches.
    fn clear_pending(&self) {
        if self.pending_entries.load(Relaxed) > 0 {
            let lost = lock(&self.pending).clear();
            self.pending_entries.store(0, Relaxed);
            self.counts.dropped.fetch_add(lost as u64, Relaxed);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic while held")
}

/// Sends or proposes this node's touches once per interval.
pub(super) async fn flush_loop(inner: Weak<Inner>) {
    let (mut flushed_at, mut flushed_all_at) = (Instant::now(), Instant::now());
    loop {
        let Some(node) = inner.upgrade() else { return };
        let config = node.consensus.replica().with_cache(|cache| cache.config().clone());
        let interval = Duration::from_millis(config.touch.interval_ms);
        let wait = (flushed_at + interval).saturating_duration_since(Instant::now());
        if wait.is_zero() {
            flushed_at = Instant::now();
            let since_all = flushed_all_at.elapsed();
            if since_all >= COUNT_INTERVAL {
                flushed_all_at = flushed_at;
                lock(&node.touches.answered).age();
            }
            if node.consensus.is_leader() {
                propose_touches(&node, &config, since_all).await;
            } else {
                node.touches.clear_pending();
                send_touches(&node, config.touch, since_all).await;
            }
            continue;
        }
        drop(node);
        sleep(wait.min(POLL_INTERVAL)).await;
    }
}

/// On the leader: proposes a tick with the touches that no write has carried since the last time.
async fn propose_touches(node: &Inner, config: &CacheConfig, since_all: Duration) {
    let touches = &node.touches;
    let left_from_before = touches.pending_entries.load(Relaxed) > 0;
    touches.merge_own(since_all, config);
    let idle = touches.proposals.swap(0, Relaxed) == 0;
    if touches.pending_entries.load(Relaxed) > 0 && (idle || left_from_before) {
        let tick = Envelope::from(Command::Tick);
        let _ = node
            .propose_here(
                0,
                tick.encode(),
                &ReadsBefore::default(),
                Deadlines::at_once(Instant::now() + TICK_TIMEOUT),
            )
            .await;
        touches.proposals.store(0, Relaxed);
    }
}

async fn send_touches(node: &Inner, config: TouchConfig, since_all: Duration) {
    let own = node.touches.begin_send(since_all, node.consensus.replica().applied_index());
    if own.reads.is_none() && own.samples.is_empty() {
        return;
    }
    let entries = own.reads.as_ref().map_or(0, |reads| reads.touches.len());
    let client = node.consensus.leader().and_then(|leader| node.consensus.peer(leader, Lane::Forward));
    let answer = match client {
        Some(client) => {
            client.call(Method::Touches, to_bytes(&own), node.consensus.timing().limit(SEND_TIMEOUT)).await
        }
        None => Err(PeerError::Unreachable("there is no leader".into())),
    };
    let answer = answer.map(|answer| from_postcard::<Option<u64>>("an answer", &answer).ok().flatten());
    let delivery = match answer {
        Ok(Some(one_key_in)) => {
            node.touches.counts.sent.fetch_add(entries as u64, Relaxed);
            node.touches.samples.set_rate(one_key_in);
            Delivery::Delivered
        }
        Ok(None)
        | Err(
            PeerError::Unreachable(_)
            | PeerError::NotListening(_)
            | PeerError::OtherCluster(_)
            | PeerError::OtherHistory(_)
            | PeerError::Refused(_),
        ) => Delivery::Refused,
        Err(PeerError::Lost | PeerError::TimedOut) => Delivery::Unknown,
    };
    node.touches.end_send(delivery, config);
}

/// Handles another node's message. The answer is the sampling rate, or `None` if this node does not lead.
pub(super) fn answer_touches(inner: &Inner, from: NodeId, body: &Bytes) -> Result<Bytes, String> {
    let message: TouchMessage = from_postcard("reads", body).map_err(|error| error.to_string())?;
    if !inner.consensus.is_leader() {
        return Ok(to_bytes(&None::<u64>));
    }
    let config = inner.consensus.replica().with_cache(|cache| cache.config().clone());
    Ok(to_bytes(&Some(inner.touches.merge(from, &message, &config))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{EntryId, Touch};
    use crate::replica::decode_touches;
    use tokio::time::advance;

    fn message(number: u64, slots: std::ops::Range<u32>, count: u16) -> TouchMessage {
        let touch = |slot| Touch { entry: EntryId { slot, generation: 0 }, count };
        let reads = NumberedReads { number, touches: slots.map(touch).collect() };
        TouchMessage { reads: Some(reads), samples: Vec::new() }
    }

    fn settings(max_per_flush: u64) -> CacheConfig {
        let touch = TouchConfig { max_per_flush, ..TouchConfig::default() };
        CacheConfig { touch, ..CacheConfig::default() }
    }

    fn slots(encoded: &Bytes) -> Vec<(u32, u16)> {
        let touches = decode_touches(encoded).unwrap();
        touches.into_iter().map(|touch| (touch.entry.slot, touch.count)).collect()
    }

    /// The touches in the next log entry, which is proposed.
    fn entry(touches: &Touches, by: NodeId, before: &ReadsBefore, config: TouchConfig, body: usize) -> Bytes {
        touches.for_entry(by, before, || config, body).encoded()
    }

    fn touched(slots: &[u32]) -> Vec<Touch> {
        slots.iter().map(|&slot| Touch { entry: EntryId { slot, generation: 0 }, count: 1 }).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_entry_gives_its_reads_back() {
        let touches = Touches::default();
        let config = settings(4);
        touches.merge(2, &message(1, 0..2, 1), &config);
        // Slot 1 was read by both; there is room for one more, and for one less in the entry.
        let before = ReadsBefore { sending: None, fresh: touched(&[1, 2, 3, 4]) };
        let refused = touches.for_entry(3, &before, || config.touch, COMMAND_BYTES_MAX - 3 * TOUCH_BYTES_MAX);
        assert_eq!(slots(&refused.encoded()), [(0, 1), (1, 2), (2, 1)]);
        refused.give_back(|| config.touch);
        let counts = |touches: &Touches| {
            let counts = &touches.counts;
            [&counts.log_entries, &counts.log_bytes, &counts.dropped].map(|count| count.load(Relaxed))
        };
        assert_eq!(counts(&touches), [0; 3]);
        // Another try brings its reads again. Nothing counts twice, and the allowance is whole.
        assert_eq!(
            slots(&entry(&touches, 3, &before, config.touch, 0)),
            [(0, 1), (1, 2), (2, 1), (3, 1)],
            "the touches of other nodes are still there"
        );
        assert_eq!((counts(&touches)[0], counts(&touches)[2]), (1, 1));
        assert!(entry(&touches, 3, &ReadsBefore::default(), config.touch, 0).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn numbered_reads_of_a_refused_entry_wait_and_count_once() {
        let touches = Touches::default();
        let config = settings(100);
        let before = ReadsBefore { sending: message(7, 0..2, 1).reads, fresh: Vec::new() };
        touches.for_entry(2, &before, || config.touch, 0).give_back(|| config.touch);
        touches.merge(2, &message(7, 0..2, 1), &config);
        assert_eq!(slots(&entry(&touches, 2, &before, config.touch, 0)), [(0, 1), (1, 1)]);
        assert!(entry(&touches, 2, &before, config.touch, 0).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn reads_of_all_nodes_are_merged_and_bounded_for_each_interval() {
        let touches = Touches::default();
        let config = settings(4);
        assert!(entry(&touches, 1, &ReadsBefore::default(), config.touch, 0).is_empty());
        touches.merge(2, &message(1, 0..3, 1), &config);
        touches.merge(2, &message(2, 1..6, 2), &config);
        // The fifth and the sixth entry did not fit.
        assert_eq!(touches.counts.dropped.load(Relaxed), 2);
        assert_eq!(
            slots(&entry(&touches, 1, &ReadsBefore::default(), config.touch, 100)),
            [(0, 1), (1, 3), (2, 3), (3, 2)]
        );
        // The allowance of the interval is used up; the next interval has a new one.
        touches.merge(2, &message(3, 7..9, 1), &config);
        assert!(entry(&touches, 1, &ReadsBefore::default(), config.touch, 100).is_empty());
        advance(Duration::from_millis(100)).await;
        assert_eq!(slots(&entry(&touches, 1, &ReadsBefore::default(), config.touch, 100)), [(7, 1), (8, 1)]);
        assert_eq!(touches.counts.log_entries.load(Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn reads_that_come_twice_count_once_and_before_the_write() {
        let touches = Touches::default();
        let config = settings(100);
        let TouchMessage { reads: Some(first), .. } = message(7, 0..2, 1) else { unreachable!("reads") };
        let before = ReadsBefore { sending: Some(first.clone()), fresh: vec![first.touches[0]] };
        // The write overtakes the message to the leader, and carries the same touches.
        assert_eq!(slots(&entry(&touches, 2, &before, config.touch, 100)), [(1, 1), (0, 2)]);
        touches.merge(2, &message(7, 0..2, 1), &config);
        assert!(entry(&touches, 2, &ReadsBefore::default(), config.touch, 100).is_empty());
        touches.merge(3, &message(7, 0..1, 1), &config);
        assert_eq!(
            slots(&entry(&touches, 2, &ReadsBefore::default(), config.touch, 100)),
            [(0, 1)],
            "another node's"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn reads_wait_while_large_commands_pass() {
        let touches = Touches::default();
        let config = settings(4_096);
        touches.merge(2, &message(4, 0..2_000, u16::MAX), &config);
        assert!(entry(&touches, 1, &ReadsBefore::default(), config.touch, COMMAND_BYTES_MAX).is_empty());
        let beside = COMMAND_BYTES_MAX - 10 * TOUCH_BYTES_MAX;
        let few = entry(&touches, 1, &ReadsBefore::default(), config.touch, beside);
        assert_eq!(slots(&few).len(), 10);
        assert!(beside + few.len() <= COMMAND_BYTES_MAX);
        assert_eq!(slots(&entry(&touches, 1, &ReadsBefore::default(), config.touch, 0)).len(), 1_990);
        touches.merge(2, &message(5, 0..5, 1), &config);
        touches.clear_pending();
        assert_eq!(
            (
                entry(&touches, 1, &ReadsBefore::default(), config.touch, 0).len(),
                touches.counts.dropped.load(Relaxed)
            ),
            (0, 5)
        );
    }
}
