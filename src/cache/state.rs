//! The state machine's whole state, and how it is read. Only `apply/` changes it.

use super::admin_log::AdminLog;
use super::client_sessions::ClientSessions;
use super::dedup::DedupTable;
use super::digest::{Digest, Sum, halves, hash_words};
use super::forks::{Fork, Forks};
use super::limits::{
    CAPACITY_ENTRIES_MAX, FEATURE_LEVEL_FIRST, FREE_PER_APPLY_MAX, TOUCH_INTERVAL_MS, TOUCHES_MAX,
    TTL_MS_MAX, TTL_MS_MIN,
};
use super::lost_keys::LostKeys;
use super::memory::CacheMemory;
use super::merge::{Merge, Merges};
use super::store::Store;
use super::tokens::Tokens;
use super::tombstones::Tombstones;
use super::{CacheConfig, Key, Stats, Tombstone, TouchConfig};
use std::collections::BTreeMap;

/// A cache: keys with values and deadlines, of bounded size. Only log entries change it.
#[derive(Debug)]
pub struct Cache {
    pub(super) config: CacheConfig,
    pub(super) index: u64,
    pub(super) now_ms: u64,
    pub(super) store: Store,
    pub(super) tombstones: Tombstones,
    pub(super) lost_keys: LostKeys,
    pub(super) dedup: DedupTable,
    pub(super) forks: Forks,
    pub(super) merges: Merges,
    pub(super) tokens: Tokens,
    pub(super) client_sessions: ClientSessions,
    pub(super) admin_log: AdminLog,
    pub(super) stats: Stats,
    pub(super) feature_level: u32,
    /// Most cleared entries that one log entry frees: the same on all nodes, and in no snapshot.
    pub(super) free_per_apply_max: usize,
}

/// An entry that will be evicted soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Victim {
    pub key: Key,
    /// How often it was used, up to 65,535.
    pub frequency: u64,
    /// What it counts against the capacity in bytes.
    pub bytes: u64,
}

impl Cache {
    /// An empty cache. Settings outside the limits are clamped to them.
    pub fn new(config: CacheConfig) -> Self {
        let config = CacheConfig {
            capacity_entries: config.capacity_entries.clamp(1, CAPACITY_ENTRIES_MAX),
            capacity_bytes: config.capacity_bytes.max(1),
            default_ttl_ms: config.default_ttl_ms.map(|ttl| ttl.clamp(TTL_MS_MIN, TTL_MS_MAX)),
            touch: TouchConfig {
                enabled: config.touch.enabled,
                interval_ms: config
                    .touch
                    .interval_ms
                    .clamp(*TOUCH_INTERVAL_MS.start(), *TOUCH_INTERVAL_MS.end()),
                max_per_flush: config.touch.max_per_flush.clamp(1, TOUCHES_MAX),
            },
            ..config
        };
        Self {
            index: 0,
            now_ms: 0,
            store: Store::new(config.policy),
            tombstones: Tombstones::default(),
            lost_keys: LostKeys::default(),
            dedup: DedupTable::default(),
            forks: Forks::default(),
            merges: Merges::default(),
            tokens: Tokens::default(),
            client_sessions: ClientSessions::default(),
            admin_log: AdminLog::default(),
            stats: Stats::default(),
            feature_level: FEATURE_LEVEL_FIRST,
            free_per_apply_max: FREE_PER_APPLY_MAX,
            config,
        }
    }

    /// Applies a log entry that holds no command: only the index advances.
    pub fn advance(&mut self, index: u64) {
        self.index = self.index.max(index);
    }

    /// The entries that are evicted next if nothing is used or written meanwhile, at most `limit`.
    pub fn next_victims(&self, limit: usize) -> Vec<Victim> {
        let slots = self.store.next_victims(self.config.capacity(), limit);
        let victim = |slot: u32| {
            let (entry, usage) = (self.store.slab().entry(slot)?, self.store.slab().usage(slot)?);
            let frequency = u64::from(usage.frequency);
            Some(Victim { key: entry.record.to_key(), frequency, bytes: usage.bytes })
        };
        slots.into_iter().filter_map(victim).collect()
    }

    /// Entries that are still in the order of a policy that is no longer in force.
    pub fn entries_to_move(&self) -> u64 {
        self.store.policies().entries_to_move()
    }

    /// The rules in force; see [`super::Command::RaiseFeatureLevel`].
    pub fn feature_level(&self) -> u32 {
        self.feature_level
    }

    /// The delete or clear that removed a key, if its tombstone is still kept; `None` for a key that is present.
    pub fn tombstone(&self, key: &str) -> Option<Tombstone> {
        if self.store.find(key).is_some() {
            return None;
        }
        self.tombstones.find(key).cloned()
    }

    /// Every tombstone, oldest first.
    pub fn tombstones(&self) -> impl Iterator<Item = &Tombstone> {
        self.tombstones.queue().iter().map(|(_, tombstone)| tombstone)
    }

    /// Index and log time of the newest removal whose tombstone is no longer kept; 0 and 0 if all are.
    pub fn forgotten_removals(&self) -> (u64, u64) {
        let forgotten = self.tombstones.forgotten();
        (forgotten.revision, forgotten.at_ms)
    }

    /// Begins to note which entries go that were created up to now; false if there is a fork to that history already, or no
    /// room for one more.
    pub fn open_fork(&mut self, history: &str) -> bool {
        self.forks.open(Fork::new(history.to_owned(), self.index))
    }

    /// Forgets what was noted for a history.
    pub fn close_fork(&mut self, history: &str) {
        self.forks.close(history);
    }

    /// Tells it who the members are from the current index on. A fork is sealed when the node that it is opened for has left.
    pub fn note_members(&mut self, is_member: impl Fn(u64) -> bool) {
        self.forks.seal(self.index, is_member);
    }

    /// The highest index that this state has heard of, of this history and of those that others are about to begin.
    pub fn highest_index(&self) -> u64 {
        // Not what was decided: that is an index that somebody sent.
        self.forks.iter().map(|fork| fork.start_index).fold(self.index, u64::max)
    }

    /// Who may do what.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// What operators did last.
    pub fn admin_log(&self) -> &AdminLog {
        &self.admin_log
    }

    /// Forgets all tokens: whoever restores a backup must not bring back what was revoked since. Requests need one all the same.
    pub fn drop_tokens(&mut self) {
        self.tokens.clear();
    }

    /// Forgets the join tokens, which are good once: nobody knows what they were used for since.
    pub fn drop_join_tokens(&mut self) {
        self.tokens.clear_joins();
    }

    /// The newest merges, in the order in which they began.
    pub fn merges(&self) -> &[Merge] {
        self.merges.all()
    }

    /// Up to which index of its log each history is decided that was reconciled.
    pub fn decided(&self) -> &BTreeMap<String, u64> {
        self.merges.decided()
    }

    /// Up to which index of its log a history is decided; 0 for one that was never reconciled.
    pub fn decided_until(&self, history: &str) -> u64 {
        self.merges.decided_until(history)
    }

    /// The open forks, in the order in which they were opened.
    pub fn forks(&self) -> impl ExactSizeIterator<Item = &Fork> {
        self.forks.iter()
    }

    /// What is noted since the fork to a history.
    pub fn fork(&self, history: &str) -> Option<&Fork> {
        self.forks.get(history)
    }

    /// Log time: the largest time applied so far, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// The memory that the state takes.
    pub fn memory(&self) -> CacheMemory {
        CacheMemory {
            entries: self.store.entries_memory(),
            indexes: self.store.indexes_memory(),
            remembered: self.dedup.memory()
                + self.tombstones.memory()
                + self.lost_keys.memory()
                + self.client_sessions.memory()
                + self.forks.memory(),
            snapshots: self.store.views_memory(),
        }
    }

    /// Index of the log entry that was applied last.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Entries, including expired ones that are not removed yet.
    pub fn len(&self) -> u64 {
        self.store.len()
    }

    /// Those whose keys have a prefix. It is counted by parts of the key index, not by entries.
    pub fn count(&self, prefix: &str) -> u64 {
        self.store.count(prefix)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries that were cleared and whose memory is not freed yet.
    pub fn entries_to_free(&self) -> u64 {
        self.store.pending_clears().len()
    }

    /// Bytes that entries count against the capacity, until their memory is freed.
    pub fn bytes(&self) -> u64 {
        self.store.bytes()
    }

    pub fn config(&self) -> &CacheConfig {
        &self.config
    }

    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The earliest time at which a [`super::Command::Tick`] would do something, never before log time; `None` when
    /// nothing is due.
    pub fn next_due_ms(&self) -> Option<u64> {
        let evicts = self.config.policy.evicts();
        let frees = self.entries_to_free() > 0;
        if frees || (self.is_over_capacity() && evicts) || self.store.policies().is_moving() {
            return Some(self.now_ms);
        }
        let entry = self.store.first_deadline().map(|(deadline, _)| deadline);
        let session = self.client_sessions.first_deadline().map(|(deadline, _)| deadline);
        entry.into_iter().chain(session).min().map(|deadline| deadline.max(self.now_ms))
    }

    pub(super) fn is_over_capacity(&self) -> bool {
        self.store.held() > self.config.capacity_entries || self.bytes() > self.config.capacity_bytes
    }

    /// The digest of the whole state.
    pub fn digest(&self) -> Digest {
        let entries = (self.store.slab().sum(), self.bytes());
        let policies = self.store.policies().digest_words();
        let clears = self.store.pending_clears().words();
        self.digest_of(
            entries,
            clears,
            policies,
            self.tombstones.words(),
            self.dedup.words(),
            [
                self.forks.words(),
                self.merges.words(),
                self.tokens.words(),
                self.admin_log.words(),
                self.lost_keys.words(),
                self.client_sessions.words(),
            ],
        )
    }

    /// The digest, computed from scratch. Slow: for tests.
    pub fn recompute_digest(&self) -> Digest {
        self.digest_of(
            (self.store.slab().recompute_sum(), self.store.slab().recompute_bytes()),
            self.store.pending_clears().recompute_words(),
            self.store.policies().recompute_digest_words(),
            self.tombstones.recompute_words(),
            self.dedup.recompute_words(),
            [
                self.forks.recompute_words(),
                self.merges.recompute_words(),
                self.tokens.recompute_words(),
                self.admin_log.recompute_words(),
                self.lost_keys.recompute_words(),
                self.client_sessions.recompute_words(),
            ],
        )
    }

    /// Makes this replica differ from the others, for tests of the audit that compares them.
    #[doc(hidden)]
    pub fn corrupt(&mut self) {
        self.stats.puts = self.stats.puts.wrapping_add(1);
    }

    /// Sets how many cleared entries one log entry frees, so that few entries are enough to test what happens meanwhile.
    #[doc(hidden)]
    pub fn set_free_per_apply_max(&mut self, max: usize) {
        self.free_per_apply_max = max;
    }

    fn digest_of(
        &self,
        entries: (Sum, u64),
        clears: [u64; 2],
        policies: [u64; 2],
        tombstones: [u64; 6],
        dedup: [u64; 5],
        others: [[u64; 2]; 6],
    ) -> Digest {
        let (entries, bytes) = entries;
        let [entries_low, entries_high] = entries.words();
        let [stats_low, stats_high] = halves(self.stats.hash());
        let [tombstones_first, tombstones_next, tombstones_low, tombstones_high, forgotten, forgotten_ms] =
            tombstones;
        let [
            [forks_low, forks_high],
            [merges_low, merges_high],
            [tokens_low, tokens_high],
            [admin_low, admin_high],
            [lost_low, lost_high],
            [sessions_low, sessions_high],
        ] = others;
        let [dedup_first, dedup_next, dedup_low, dedup_high, dedup_forgotten] = dedup;
        let [policies_low, policies_high] = policies;
        let [clears_low, clears_high] = clears;
        Digest(hash_words([
            self.index,
            self.now_ms,
            u64::from(self.config.policy.number()),
            self.config.capacity_entries,
            self.config.capacity_bytes,
            // A TTL has at least 1 ms, so 0 stands for none.
            self.config.default_ttl_ms.unwrap_or(0),
            u64::from(self.config.touch.enabled),
            self.config.touch.interval_ms,
            self.config.touch.max_per_flush,
            u64::from(self.feature_level),
            stats_low,
            stats_high,
            self.store.recency_clock(),
            self.store.held(),
            bytes,
            u64::from(self.store.slab().slots()),
            entries_low,
            entries_high,
            clears_low,
            clears_high,
            policies_low,
            policies_high,
            tombstones_first,
            tombstones_next,
            tombstones_low,
            tombstones_high,
            forgotten,
            forgotten_ms,
            dedup_first,
            dedup_next,
            dedup_low,
            dedup_high,
            dedup_forgotten,
            forks_low,
            forks_high,
            merges_low,
            merges_high,
            tokens_low,
            tokens_high,
            admin_low,
            admin_high,
            lost_low,
            lost_high,
            sessions_low,
            sessions_high,
        ]))
    }
}
