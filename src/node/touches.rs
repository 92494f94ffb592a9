//! How reads come to count: each node collects its own, and the log tells everybody. They go along with the next write of
//! that node's clients, in the same entry and before it: whoever reads and then writes by one node finds its reads
//! counted. What no write takes along goes to the leader after an interval, and into the next entry there. An idle
//! cluster that is read from writes one log entry an interval, or one a second where the reads change no order; one that
//! nobody reads from writes none. Reads that get lost on the way are lost: they are hints.

use super::answered_uses::AnsweredUses;
use super::hot_keys::HotKeys;
use super::shadow::{Shadow, ShadowReport, is_sampled};
use super::start::Inner;
use super::touch_buffer::TouchBuffer;
use crate::cache::{Cache, CacheConfig, Command, Seen, Touch, TouchConfig};
use crate::peer::{Lane, Method, NodeId, PeerError};
use crate::raft::{COMMAND_BYTES_MAX, Envelope, encode_touches, from_postcard, offload, to_bytes};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use xxhash_rust::xxh3::xxh3_64;

/// How often the settings are looked at: a longer interval can be made shorter at any time.
const LOOK: Duration = Duration::from_millis(100);
/// Reads that change no order, but are counted, are told of so often.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
/// Entries of reads that are sent once more with a write, because the leader may not have them yet.
const RESENT_MAX: usize = 1_024;
/// How long telling the leader may take; nobody waits for it but the next telling.
const TELL_LIMIT: Duration = Duration::from_secs(1);
/// A tick that tells of reads and is not committed by then is of no more interest.
const TICK_LIMIT: Duration = Duration::from_secs(1);
/// Entries told of for each millisecond of an interval, at most: more would be more than `apply` can do beside
/// its other work.
const TOUCHES_PER_MS_MAX: u64 = 50;
/// Bytes of one entry's reads in the log, at most, with its part of what stands before them.
const TOUCH_BYTES_MAX: usize = 16;
/// Sampled reads that a node tells of for each millisecond of an interval, at most.
const SAMPLES_PER_MS_MAX: u64 = 10;
/// Sampled reads a second above which the leader looks at fewer keys.
const SAMPLES_PER_S_MAX: u128 = 6_000;
/// Sampled reads that wait for the leader to look at them, at most.
const TOLD_SAMPLES_MAX: usize = 16_384;

/// Reads on their way into the log, and what is learnt from them beside it.
#[derive(Default)]
pub(super) struct Touches {
    /// This node's reads that nobody was told of yet.
    own: Mutex<Own>,
    answered: Mutex<AnsweredUses>,
    /// As leader: all nodes' reads that the log is still to be told of.
    pending: Mutex<Pending>,
    /// Entries there, for those who only want to know whether there are any.
    pending_entries: AtomicUsize,
    /// Proposals made here since the last look.
    proposals: AtomicU64,
    /// Hashes of sampled keys that were read here.
    samples: Mutex<Vec<u64>>,
    one_key_in: AtomicU64,
    /// As leader: the sampled keys that all nodes told of, and what they taught so far.
    told_samples: Mutex<Vec<u64>>,
    shadow_report: Mutex<Option<ShadowReport>>,
    pub hot_keys: HotKeys,
    pub counts: TouchCounts,
}

/// A node's own reads.
#[derive(Default)]
struct Own {
    reads: TouchBuffer,
    /// Those that change no order, and are only counted: once a second, however often it is written.
    counted: TouchBuffer,
    /// Whether some of them change the order in which entries go, or a deadline.
    matter: bool,
    /// Those that the leader is being told of, until it has answered.
    telling: Option<Numbered>,
    /// How often it was told.
    told: u64,
}

/// What the leader holds for the log.
#[derive(Default)]
struct Pending {
    reads: TouchBuffer,
    /// The number of the newest reads that each of the others told of.
    newest: HashMap<NodeId, u64>,
    /// Entries that the log may still be told of in this interval.
    allowance: usize,
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

/// Reads on their way to the leader, with a number that rises: it counts them once, though they may come twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Numbered {
    number: u64,
    touches: Vec<Touch>,
}

/// What a node tells the leader.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Told {
    reads: Option<Numbered>,
    /// Hashes of sampled keys that were read.
    samples: Vec<u64>,
}

/// The reads of a node that are to count before a write of its client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Before {
    /// Those that the leader is just being told of: the write may be there first.
    told: Option<Numbered>,
    pub fresh: Vec<Touch>,
}

impl Before {
    pub fn is_empty(&self) -> bool {
        self.told.is_none() && self.fresh.is_empty()
    }
}

impl Touches {
    /// A key was looked for, and found or not. Returns how often it was used before, reads of this node that are on their
    /// way into the log among them.
    /// In a small cache (`exact`) each read is told of in its place among the others.
    pub fn note(&self, key: &str, seen: Option<&Seen>, config: TouchConfig, exact: bool) -> u64 {
        self.hot_keys.note(key);
        let hash = xxh3_64(key.as_bytes());
        if is_sampled(hash, self.one_key_in.load(Relaxed)) {
            let most = usize::try_from(config.interval_ms * SAMPLES_PER_MS_MAX).unwrap_or(usize::MAX);
            let mut samples = lock(&self.samples);
            if samples.len() < most.min(TOLD_SAMPLES_MAX) {
                samples.push(hash);
            }
        }
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
        let mut own = lock(&self.own);
        own.matter |= seen.matters;
        let waiting = u64::from(own.reads.count_of(seen.entry)) + u64::from(own.counted.count_of(seen.entry));
        let buffer = if seen.matters || exact { &mut own.reads } else { &mut own.counted };
        if !buffer.add(Touch { entry: seen.entry, count: 1 }, most_of(config)) {
            self.counts.dropped.fetch_add(1, Relaxed);
        }
        drop(own);
        lock(&self.answered).before(seen.entry, seen.uses + waiting)
    }

    /// This node's reads so far, which are to count before a write that comes after them.
    pub fn before_write(&self) -> Before {
        let mut own = lock(&self.own);
        let told = own.telling.clone().filter(|told| told.touches.len() <= RESENT_MAX);
        if own.reads.is_empty() {
            return Before { told, fresh: Vec::new() };
        }
        own.matter = false;
        Before { told, fresh: own.reads.take(usize::MAX) }
    }

    /// Reads that were to count, and nothing was done with them: they go along with what comes next.
    pub fn put_back(&self, touches: &[Touch], config: TouchConfig) {
        if touches.is_empty() {
            return;
        }
        let mut own = lock(&self.own);
        own.matter = true;
        let lost = own.reads.put_back(touches, most_of(config));
        drop(own);
        self.counts.dropped.fetch_add(lost as u64, Relaxed);
    }

    /// As leader: the reads that the next log entry is to tell of, encoded; empty for none. `before` are those of node `by`,
    /// whose client writes; `body` bytes are taken.
    pub fn for_entry(&self, by: NodeId, before: &Before, config: TouchConfig, body: usize) -> Bytes {
        self.proposals.fetch_add(1, Relaxed);
        if before.is_empty() && self.pending_entries.load(Relaxed) == 0 {
            return Bytes::new();
        }
        let fitting = COMMAND_BYTES_MAX.saturating_sub(body) / TOUCH_BYTES_MAX;
        let mut pending = lock(&self.pending);
        let told = before.told.as_ref().map_or(0, |told| pending.add_numbered(by, told, most_of(config)));
        let lost = told + pending.add(&before.fresh, most_of(config));
        let most = pending.allowance.min(fitting);
        let touches = pending.reads.take(most);
        pending.allowance -= touches.len();
        self.pending_entries.store(pending.reads.len(), Relaxed);
        drop(pending);
        self.counts.dropped.fetch_add(lost as u64, Relaxed);
        let encoded = encode_touches(&touches);
        if !encoded.is_empty() {
            self.counts.log_entries.fetch_add(1, Relaxed);
            self.counts.log_bytes.fetch_add(encoded.len() as u64, Relaxed);
        }
        encoded
    }

    /// As leader: takes in what a node tells of, and says which part of the keys is to be sampled.
    fn take_in(&self, from: NodeId, told: &Told, config: &CacheConfig) -> u64 {
        let mut pending = lock(&self.pending);
        let reads = told.reads.as_ref();
        let lost = reads.map_or(0, |reads| pending.add_numbered(from, reads, most_of(config.touch)));
        self.pending_entries.store(pending.reads.len(), Relaxed);
        drop(pending);
        self.counts.dropped.fetch_add(lost as u64, Relaxed);
        let mut samples = lock(&self.told_samples);
        let room = TOLD_SAMPLES_MAX.saturating_sub(samples.len());
        samples.extend(told.samples.iter().take(room));
        drop(samples);
        self.one_key_in.load(Relaxed)
    }

    /// As leader: lets the small caches see what was told since the last time. Takes a while.
    fn estimate(&self, shadow: Option<Shadow>, room: u64, since_last: Duration) -> Shadow {
        let samples = std::mem::take(&mut *lock(&self.told_samples));
        let fits = |shadow: &Shadow| shadow.capacity().abs_diff(room) <= shadow.capacity() / 4;
        let mut shadow = shadow.filter(fits).unwrap_or_else(|| Shadow::new(room));
        // Until all have heard of it, some tell of more than is asked for.
        let one_in = shadow.one_in();
        samples.iter().filter(|&&hash| is_sampled(hash, one_in)).for_each(|&hash| shadow.see(hash));
        let per_s = samples.len() as u128 * 1_000 / since_last.as_millis().max(1);
        if per_s > SAMPLES_PER_S_MAX {
            shadow.look_at_fewer();
        }
        self.one_key_in.store(shadow.one_in(), Relaxed);
        *lock(&self.shadow_report) = Some(shadow.report());
        shadow
    }

    /// What the other policies would have done, as far as this node has seen it as the leader.
    pub fn shadow_report(&self) -> Option<ShadowReport> {
        lock(&self.shadow_report).clone()
    }

    /// As a follower: what the leader is to be told now.
    fn begin_telling(&self, since_all: Duration, applied: u64) -> Told {
        let mut own = lock(&self.own);
        if own.is_due(since_all) {
            own.told += 1;
            let number = (applied << 16) | (own.told & 0xffff);
            let touches = own.take(since_all);
            own.telling = Some(Numbered { number, touches });
        }
        Told { reads: own.telling.clone(), samples: std::mem::take(&mut lock(&self.samples)) }
    }

    fn end_telling(&self) {
        lock(&self.own).telling = None;
    }

    /// As leader: what is to be told goes to what waits for the log, at once, so that no write comes in between.
    fn take_in_own(&self, since_all: Duration, config: &CacheConfig) {
        let mut own = lock(&self.own);
        let told = Told { reads: None, samples: std::mem::take(&mut lock(&self.samples)) };
        let mut lost = 0;
        if own.is_due(since_all) {
            let touches = own.take(since_all);
            self.counts.sent.fetch_add(touches.len() as u64, Relaxed);
            let mut pending = lock(&self.pending);
            lost = pending.add(&touches, most_of(config.touch));
            self.pending_entries.store(pending.reads.len(), Relaxed);
        }
        drop(own);
        self.counts.dropped.fetch_add(lost as u64, Relaxed);
        self.take_in(0, &told, config);
    }

    /// A new interval begins. A node that does not lead begins one, too: it may lead in the middle of it.
    fn renew_allowance(&self, config: TouchConfig) {
        lock(&self.pending).allowance = most_of(config);
    }

    /// A node that does not lead keeps nothing for the log.
    fn forget_pending(&self) {
        if self.pending_entries.load(Relaxed) > 0 {
            let lost = lock(&self.pending).reads.take(usize::MAX).len();
            self.pending_entries.store(0, Relaxed);
            self.counts.dropped.fetch_add(lost as u64, Relaxed);
        }
    }
}

impl Own {
    fn is_due(&self, since_all: Duration) -> bool {
        let counted = since_all >= COUNT_INTERVAL && !(self.reads.is_empty() && self.counted.is_empty());
        self.matter || counted
    }

    /// Those that are only counted come first: that they were read late must not move them past the others.
    fn take(&mut self, since_all: Duration) -> Vec<Touch> {
        let counted = if since_all >= COUNT_INTERVAL { self.counted.take(usize::MAX) } else { Vec::new() };
        self.matter = false;
        [counted, self.reads.take(usize::MAX)].concat()
    }
}

impl Pending {
    /// Adds reads; returns how many entries' did not fit.
    fn add(&mut self, touches: &[Touch], most: usize) -> usize {
        touches.iter().filter(|touch| !self.reads.add(**touch, most)).count()
    }

    /// The same, unless they were added before.
    fn add_numbered(&mut self, from: NodeId, Numbered { number, touches }: &Numbered, most: usize) -> usize {
        let newest = self.newest.entry(from).or_default();
        if *newest >= *number {
            return 0;
        }
        *newest = *number;
        self.add(touches, most)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic while held")
}

/// Entries told of in an interval, at most.
fn most_of(config: TouchConfig) -> usize {
    let most = config.max_per_flush.min(config.interval_ms * TOUCHES_PER_MS_MAX);
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// Entries that fit: where bytes are what runs out, about as many as there are.
fn room(cache: &Cache) -> u64 {
    let config = cache.config();
    let bytes_are_short = cache.bytes() > config.capacity_bytes / 10 * 9;
    if bytes_are_short { cache.len().clamp(1, config.capacity_entries) } else { config.capacity_entries }
}

/// Tells of this node's reads, once an interval.
pub(super) async fn keep_telling(inner: Weak<Inner>) {
    let (mut told_at, mut told_all_at) = (Instant::now(), Instant::now());
    if let Some(node) = inner.upgrade() {
        // Nothing is due yet, but what a write takes along need not wait.
        node.touches.renew_allowance(node.consensus.replica().with_cache(|cache| cache.config().touch));
    }
    loop {
        let Some(node) = inner.upgrade() else { return };
        let config = node.consensus.replica().with_cache(|cache| cache.config().clone());
        let interval = Duration::from_millis(config.touch.interval_ms);
        let wait = (told_at + interval).saturating_duration_since(Instant::now());
        if wait.is_zero() {
            told_at = Instant::now();
            node.touches.renew_allowance(config.touch);
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
        let _ = node.propose_here(0, tick.encode(), &Before::default(), Instant::now() + TICK_LIMIT).await;
        touches.proposals.store(0, Relaxed);
    }
}

async fn tell_leader(node: &Inner, config: TouchConfig, since_all: Duration) {
    let own = node.touches.begin_telling(since_all, node.consensus.replica().applied_index());
    if own.reads.is_none() && own.samples.is_empty() {
        return;
    }
    let touches = own.reads.as_ref().map_or(&[][..], |reads| &reads.touches);
    let client =
        node.consensus.leader().and_then(|leader| node.peers.client(&node.consensus, leader, Lane::Forward));
    let answer = match client {
        Some(client) => client.call(Method::Touches, to_bytes(&own), TELL_LIMIT).await,
        None => Err(PeerError::Unreachable("there is no leader".into())),
    };
    node.touches.end_telling();
    let answer = answer.map(|answer| from_postcard::<Option<u64>>("an answer", &answer).ok().flatten());
    match answer {
        Ok(Some(one_key_in)) => {
            node.touches.counts.sent.fetch_add(touches.len() as u64, Relaxed);
            node.touches.one_key_in.store(one_key_in, Relaxed);
        }
        Ok(None)
        | Err(
            PeerError::Unreachable(_)
            | PeerError::NotThere(_)
            | PeerError::OtherCluster(_)
            | PeerError::Refused(_),
        ) => {
            node.touches.put_back(touches, config);
        }
        // It may have them.
        Err(PeerError::Lost | PeerError::TimedOut) => {
            node.touches.counts.dropped.fetch_add(touches.len() as u64, Relaxed);
        }
    }
}

/// As leader, estimates what other policies would do.
pub(super) async fn keep_estimating(inner: Weak<Inner>) {
    let mut last = Instant::now();
    let mut shadow = None;
    loop {
        sleep(LOOK).await;
        let Some(node) = inner.upgrade() else { return };
        let since_last = last.elapsed();
        last = Instant::now();
        if node.consensus.is_leader() {
            let room = node.consensus.replica().with_cache(room);
            let before = shadow.take();
            let estimating = move || node.touches.estimate(before, room, since_last);
            shadow = offload(estimating).await.ok();
        } else {
            shadow = None;
            *lock(&node.touches.shadow_report) = None;
            lock(&node.touches.told_samples).clear();
        }
    }
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
    use crate::cache::EntryId;
    use crate::raft::decode_touches;

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

    #[test]
    fn reads_of_all_nodes_are_merged_and_bounded_for_each_interval() {
        let touches = Touches::default();
        let config = settings(4);
        assert!(touches.for_entry(1, &Before::default(), TouchConfig::default(), 0).is_empty());
        touches.renew_allowance(config.touch);
        touches.take_in(2, &told(1, 0..3, 1), &config);
        touches.take_in(2, &told(2, 1..6, 2), &config);
        // The fifth and the sixth entry did not fit.
        assert_eq!(touches.counts.dropped.load(Relaxed), 2);
        assert_eq!(
            slots(&touches.for_entry(1, &Before::default(), TouchConfig::default(), 100)),
            [(0, 1), (1, 3), (2, 3), (3, 2)]
        );
        // The interval's allowance is used up; the next one has a new one.
        touches.take_in(2, &told(3, 7..9, 1), &config);
        assert!(touches.for_entry(1, &Before::default(), TouchConfig::default(), 100).is_empty());
        touches.renew_allowance(config.touch);
        assert_eq!(
            slots(&touches.for_entry(1, &Before::default(), TouchConfig::default(), 100)),
            [(7, 1), (8, 1)]
        );
        assert_eq!(touches.counts.log_entries.load(Relaxed), 2);
    }

    #[test]
    fn reads_that_come_twice_count_once_and_before_the_write() {
        let touches = Touches::default();
        let config = settings(100);
        lock(&touches.pending).allowance = 100;
        let Told { reads: Some(first), .. } = told(7, 0..2, 1) else { unreachable!("reads") };
        let before = Before { told: Some(first.clone()), fresh: vec![first.touches[0]] };
        // The write overtakes what the leader is being told of, and takes it along.
        assert_eq!(slots(&touches.for_entry(2, &before, config.touch, 100)), [(1, 1), (0, 2)]);
        touches.take_in(2, &told(7, 0..2, 1), &config);
        assert!(touches.for_entry(2, &Before::default(), config.touch, 100).is_empty());
        touches.take_in(3, &told(7, 0..1, 1), &config);
        assert_eq!(
            slots(&touches.for_entry(2, &Before::default(), config.touch, 100)),
            [(0, 1)],
            "another node's"
        );
    }

    #[test]
    fn reads_of_a_write_that_was_refused_go_along_with_the_next_one() {
        let touches = Touches::default();
        let config = settings(4).touch;
        let note = |slot| {
            let entry = EntryId { slot, generation: 0 };
            lock(&touches.own).reads.add(Touch { entry, count: 1 }, most_of(config));
        };
        [0, 1, 4].into_iter().for_each(note);
        let refused = touches.before_write();
        assert_eq!(touches.before_write(), Before::default());
        [2, 0, 3].into_iter().for_each(note);
        touches.put_back(&refused.fresh, config);
        let next = touches.before_write().fresh;
        let next: Vec<(u32, u16)> = next.iter().map(|touch| (touch.entry.slot, touch.count)).collect();
        // Those that are older come first; the oldest that was not read again does not fit.
        let expected = vec![(4, 1), (2, 1), (0, 2), (3, 1)];
        assert_eq!((next, touches.counts.dropped.load(Relaxed)), (expected, 1));
    }

    #[test]
    fn reads_wait_while_large_commands_pass() {
        let touches = Touches::default();
        let config = settings(4_096);
        touches.renew_allowance(config.touch);
        touches.take_in(2, &told(4, 0..2_000, u16::MAX), &config);
        assert!(
            touches.for_entry(1, &Before::default(), TouchConfig::default(), COMMAND_BYTES_MAX).is_empty()
        );
        let beside = COMMAND_BYTES_MAX - 10 * TOUCH_BYTES_MAX;
        let few = touches.for_entry(1, &Before::default(), TouchConfig::default(), beside);
        assert_eq!(slots(&few).len(), 10);
        assert!(beside + few.len() <= COMMAND_BYTES_MAX);
        assert_eq!(slots(&touches.for_entry(1, &Before::default(), TouchConfig::default(), 0)).len(), 1_990);
        touches.take_in(2, &told(5, 0..5, 1), &config);
        touches.forget_pending();
        assert_eq!(
            (
                touches.for_entry(1, &Before::default(), TouchConfig::default(), 0).len(),
                touches.counts.dropped.load(Relaxed)
            ),
            (0, 5)
        );
    }

    #[test]
    fn no_settings_ask_for_more_than_can_be_done() {
        let touch = TouchConfig { interval_ms: 10, ..settings(8_192).touch };
        assert_eq!(most_of(touch), 500);
        assert_eq!(most_of(settings(8_192).touch), 5_000);
    }
}
