//! How reads come to count: each node collects its own, and the log tells everybody. They go along with the next write of
//! that node's clients, in the same entry and before it: whoever alone reads and then writes by one node, and waits for each
//! answer, finds its reads counted. What no write takes along goes to the leader after an interval, and into the next entry there. An idle
//! cluster that is read from writes one log entry an interval, or one a second where the reads change no order; one that
//! nobody reads from writes none. Reads that get lost on the way are lost: they are hints.

use super::answered_uses::AnsweredUses;
use super::hot_keys::HotKeys;
use super::own_reads::{Before, COUNT_INTERVAL, Fate, Numbered, OwnReads};
use super::pending_reads::{ForEntry, PendingReads};
use super::read_samples::ReadSamples;
use super::start::Inner;
use super::write::Times;
use crate::cache::{CacheConfig, Command, Seen, TouchConfig};
use crate::peer::{Lane, Method, NodeId, PeerError};
use crate::replica::{COMMAND_BYTES_MAX, Envelope, encode_touches, from_postcard, to_bytes};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often the settings are looked at: a longer interval can be made shorter at any time.
const LOOK: Duration = Duration::from_millis(100);
/// How long telling the leader may take; nobody waits for it but the next telling.
const TELL_LIMIT: Duration = Duration::from_secs(1);
/// A tick that tells of reads and is not committed by then is of no more interest.
const TICK_LIMIT: Duration = Duration::from_secs(1);
/// Bytes of one entry's reads in the log, at most, with its part of what stands before them.
const TOUCH_BYTES_MAX: usize = 16;

/// Reads on their way into the log, and what is learnt from them beside it.
#[derive(Default)]
pub(super) struct Touches {
    /// This node's reads that nobody was told of yet.
    own: Mutex<OwnReads>,
    answered: Mutex<AnsweredUses>,
    /// As leader: all nodes' reads that the log is still to be told of.
    pending: Mutex<PendingReads>,
    /// Entries there, for those who only want to know whether there are any.
    pending_entries: AtomicUsize,
    /// Proposals made here since the last look.
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
    /// Entries read that the leader was told of, once for each time it was told.
    pub sent: AtomicU64,
    /// Reads that change no order: they are counted later than others.
    pub suppressed: AtomicU64,
    /// Reads, or entries read, that did not fit or got lost on the way.
    pub dropped: AtomicU64,
    /// Log entries proposed here that told of reads, and the bytes that took.
    pub log_entries: AtomicU64,
    pub log_bytes: AtomicU64,
}

/// Reads that go along with a write of this node's client. When this is dropped without `end`, it is unknown whether the
/// leader has them.
pub(super) struct Going<'a> {
    of: &'a Touches,
    pub before: Before,
}

impl Going<'_> {
    /// The write has ended.
    pub fn end(mut self, fate: Fate, config: impl FnOnce() -> TouchConfig) {
        let before = std::mem::take(&mut self.before);
        if !before.is_empty() {
            self.of.after_write(&before, fate, config());
        }
    }
}

impl Drop for Going<'_> {
    fn drop(&mut self) {
        // Nothing is put back, so no settings matter.
        self.of.after_write(&self.before, Fate::Unknown, TouchConfig::default());
    }
}

/// The reads that a proposed log entry tells of. They are counted as told when this is dropped, unless the entry was refused.
pub(super) struct EntryReads<'a> {
    of: &'a Touches,
    reads: ForEntry,
    encoded: Bytes,
}

impl EntryReads<'_> {
    /// As they stand in the log; empty for none.
    pub fn encoded(&self) -> Bytes {
        self.encoded.clone()
    }

    /// The entry was not proposed: other nodes' reads wait for the next one, and those that came with the write are its
    /// node's again.
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

/// What a node tells the leader.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Told {
    reads: Option<Numbered>,
    /// Hashes of sampled keys that were read.
    samples: Vec<u64>,
}

impl Touches {
    /// A key was looked for, and found or not. Returns how often it was used before, reads of this node that are on their
    /// way into the log among them.
    /// In a small cache (`exact`) each read is told of in its place among the others.
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

    /// This node's reads so far, which are to count before a write that comes after them.
    pub fn before_write(&self) -> Going<'_> {
        Going { of: self, before: lock(&self.own).before_write() }
    }

    fn after_write(&self, before: &Before, fate: Fate, config: TouchConfig) {
        if !before.is_empty() {
            let lost = lock(&self.own).after_write(before, fate, config);
            self.counts.dropped.fetch_add(lost as u64, Relaxed);
        }
    }

    /// As leader: the reads that the next log entry is to tell of. `before` are those of node `by`, whose client writes;
    /// `body` bytes are taken.
    pub fn for_entry(
        &self,
        by: NodeId,
        before: &Before,
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

    /// As leader: takes in what a node tells of, and says which part of the keys is to be sampled.
    fn take_in(&self, from: NodeId, told: &Told, config: &CacheConfig) -> u64 {
        let mut pending = lock(&self.pending);
        let reads = told.reads.as_ref();
        let lost = reads.map_or(0, |reads| pending.add_numbered(from, reads, config.touch));
        self.pending_entries.store(pending.len(), Relaxed);
        drop(pending);
        self.counts.dropped.fetch_add(lost as u64, Relaxed);
        self.samples.take_in(&told.samples)
    }

    /// As a follower: what the leader is to be told now.
    fn begin_telling(&self, since_all: Duration, applied: u64) -> Told {
        let reads = lock(&self.own).begin_telling(since_all, applied);
        Told { reads, samples: self.samples.take() }
    }

    fn end_telling(&self, fate: Fate, config: TouchConfig) {
        let lost = lock(&self.own).end_telling(fate, config);
        self.counts.dropped.fetch_add(lost as u64, Relaxed);
    }

    /// As leader: what is to be told goes to what waits for the log, at once, so that no write comes in between.
    fn take_in_own(&self, since_all: Duration, config: &CacheConfig) {
        let mut own = lock(&self.own);
        let told = Told { reads: None, samples: self.samples.take() };
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
        self.take_in(0, &told, config);
    }

    /// A node that does not lead keeps nothing for the log.
    fn forget_pending(&self) {
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

/// Tells of this node's reads, once an interval.
pub(super) async fn keep_telling(inner: Weak<Inner>) {
    let (mut told_at, mut told_all_at) = (Instant::now(), Instant::now());
    loop {
        let Some(node) = inner.upgrade() else { return };
        let config = node.consensus.replica().with_cache(|cache| cache.config().clone());
        let interval = Duration::from_millis(config.touch.interval_ms);
        let wait = (told_at + interval).saturating_duration_since(Instant::now());
        if wait.is_zero() {
            told_at = Instant::now();
            let since_all = told_all_at.elapsed();
            if since_all >= COUNT_INTERVAL {
                told_all_at = told_at;
                lock(&node.touches.answered).age();
            }
            if node.consensus.is_leader() {
                tell_log(&node, &config, since_all).await;
            } else {
                node.touches.forget_pending();
                tell_leader(&node, config.touch, since_all).await;
            }
            continue;
        }
        drop(node);
        sleep(wait.min(LOOK)).await;
    }
}

/// As leader: what no write has taken along since the last time goes into the log by itself.
async fn tell_log(node: &Inner, config: &CacheConfig, since_all: Duration) {
    let touches = &node.touches;
    let left_over = touches.pending_entries.load(Relaxed) > 0;
    touches.take_in_own(since_all, config);
    let idle = touches.proposals.swap(0, Relaxed) == 0;
    if touches.pending_entries.load(Relaxed) > 0 && (idle || left_over) {
        let tick = Envelope { idempotency_key: None, command: Command::Tick };
        let _ = node
            .propose_here(0, tick.encode(), &Before::default(), Times::at_once(Instant::now() + TICK_LIMIT))
            .await;
        touches.proposals.store(0, Relaxed);
    }
}

async fn tell_leader(node: &Inner, config: TouchConfig, since_all: Duration) {
    let own = node.touches.begin_telling(since_all, node.consensus.replica().applied_index());
    if own.reads.is_none() && own.samples.is_empty() {
        return;
    }
    let told = own.reads.as_ref().map_or(0, |reads| reads.touches.len());
    let client =
        node.consensus.leader().and_then(|leader| node.peers.client(&node.consensus, leader, Lane::Forward));
    let answer = match client {
        Some(client) => client.call(Method::Touches, to_bytes(&own), TELL_LIMIT).await,
        None => Err(PeerError::Unreachable("there is no leader".into())),
    };
    let answer = answer.map(|answer| from_postcard::<Option<u64>>("an answer", &answer).ok().flatten());
    let fate = match answer {
        Ok(Some(one_key_in)) => {
            node.touches.counts.sent.fetch_add(told as u64, Relaxed);
            node.touches.samples.ask_for(one_key_in);
            Fate::Taken
        }
        Ok(None)
        | Err(
            PeerError::Unreachable(_)
            | PeerError::NotListening(_)
            | PeerError::OtherCluster(_)
            | PeerError::Refused(_),
        ) => Fate::Refused,
        Err(PeerError::Lost | PeerError::TimedOut) => Fate::Unknown,
    };
    node.touches.end_telling(fate, config);
}

/// Takes in what another node tells of; answers `None` when this node does not lead.
pub(super) fn answer_touches(inner: &Inner, from: NodeId, body: &Bytes) -> Result<Bytes, String> {
    let told: Told = from_postcard("reads", body).map_err(|error| error.to_string())?;
    if !inner.consensus.is_leader() {
        return Ok(to_bytes(&None::<u64>));
    }
    let config = inner.consensus.replica().with_cache(|cache| cache.config().clone());
    Ok(to_bytes(&Some(inner.touches.take_in(from, &told, &config))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{EntryId, Touch};
    use crate::replica::decode_touches;
    use tokio::time::advance;

    fn told(number: u64, slots: std::ops::Range<u32>, count: u16) -> Told {
        let touch = |slot| Touch { entry: EntryId { slot, generation: 0 }, count };
        let reads = Numbered { number, touches: slots.map(touch).collect() };
        Told { reads: Some(reads), samples: Vec::new() }
    }

    fn settings(max_per_flush: u64) -> CacheConfig {
        let touch = TouchConfig { max_per_flush, ..TouchConfig::default() };
        CacheConfig { touch, ..CacheConfig::default() }
    }

    fn slots(encoded: &Bytes) -> Vec<(u32, u16)> {
        let touches = decode_touches(encoded).unwrap();
        touches.into_iter().map(|touch| (touch.entry.slot, touch.count)).collect()
    }

    /// What an entry tells of that is proposed.
    fn entry(touches: &Touches, by: NodeId, before: &Before, config: TouchConfig, body: usize) -> Bytes {
        touches.for_entry(by, before, || config, body).encoded()
    }

    fn told_by(slots: &[u32]) -> Vec<Touch> {
        slots.iter().map(|&slot| Touch { entry: EntryId { slot, generation: 0 }, count: 1 }).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_entry_gives_its_reads_back() {
        let touches = Touches::default();
        let config = settings(4);
        touches.take_in(2, &told(1, 0..2, 1), &config);
        // Slot 1 was read by both; there is room for one more, and for one less in the entry.
        let before = Before { told: None, fresh: told_by(&[1, 2, 3, 4]) };
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
            "what other nodes told of is still there"
        );
        assert_eq!((counts(&touches)[0], counts(&touches)[2]), (1, 1));
        assert!(entry(&touches, 3, &Before::default(), config.touch, 0).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn numbered_reads_of_a_refused_entry_wait_and_count_once() {
        let touches = Touches::default();
        let config = settings(100);
        let before = Before { told: told(7, 0..2, 1).reads, fresh: Vec::new() };
        touches.for_entry(2, &before, || config.touch, 0).give_back(|| config.touch);
        touches.take_in(2, &told(7, 0..2, 1), &config);
        assert_eq!(slots(&entry(&touches, 2, &before, config.touch, 0)), [(0, 1), (1, 1)]);
        assert!(entry(&touches, 2, &before, config.touch, 0).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn reads_of_all_nodes_are_merged_and_bounded_for_each_interval() {
        let touches = Touches::default();
        let config = settings(4);
        assert!(entry(&touches, 1, &Before::default(), config.touch, 0).is_empty());
        touches.take_in(2, &told(1, 0..3, 1), &config);
        touches.take_in(2, &told(2, 1..6, 2), &config);
        // The fifth and the sixth entry did not fit.
        assert_eq!(touches.counts.dropped.load(Relaxed), 2);
        assert_eq!(
            slots(&entry(&touches, 1, &Before::default(), config.touch, 100)),
            [(0, 1), (1, 3), (2, 3), (3, 2)]
        );
        // The interval's allowance is used up; the next one has a new one.
        touches.take_in(2, &told(3, 7..9, 1), &config);
        assert!(entry(&touches, 1, &Before::default(), config.touch, 100).is_empty());
        advance(Duration::from_millis(100)).await;
        assert_eq!(slots(&entry(&touches, 1, &Before::default(), config.touch, 100)), [(7, 1), (8, 1)]);
        assert_eq!(touches.counts.log_entries.load(Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn reads_that_come_twice_count_once_and_before_the_write() {
        let touches = Touches::default();
        let config = settings(100);
        let Told { reads: Some(first), .. } = told(7, 0..2, 1) else { unreachable!("reads") };
        let before = Before { told: Some(first.clone()), fresh: vec![first.touches[0]] };
        // The write overtakes what the leader is being told of, and takes it along.
        assert_eq!(slots(&entry(&touches, 2, &before, config.touch, 100)), [(1, 1), (0, 2)]);
        touches.take_in(2, &told(7, 0..2, 1), &config);
        assert!(entry(&touches, 2, &Before::default(), config.touch, 100).is_empty());
        touches.take_in(3, &told(7, 0..1, 1), &config);
        assert_eq!(
            slots(&entry(&touches, 2, &Before::default(), config.touch, 100)),
            [(0, 1)],
            "another node's"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn reads_wait_while_large_commands_pass() {
        let touches = Touches::default();
        let config = settings(4_096);
        touches.take_in(2, &told(4, 0..2_000, u16::MAX), &config);
        assert!(entry(&touches, 1, &Before::default(), config.touch, COMMAND_BYTES_MAX).is_empty());
        let beside = COMMAND_BYTES_MAX - 10 * TOUCH_BYTES_MAX;
        let few = entry(&touches, 1, &Before::default(), config.touch, beside);
        assert_eq!(slots(&few).len(), 10);
        assert!(beside + few.len() <= COMMAND_BYTES_MAX);
        assert_eq!(slots(&entry(&touches, 1, &Before::default(), config.touch, 0)).len(), 1_990);
        touches.take_in(2, &told(5, 0..5, 1), &config);
        touches.forget_pending();
        assert_eq!(
            (
                entry(&touches, 1, &Before::default(), config.touch, 0).len(),
                touches.counts.dropped.load(Relaxed)
            ),
            (0, 5)
        );
    }
}
