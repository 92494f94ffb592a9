//! The state machine's whole state, and how it is read. It is changed in `apply/` only.

use super::digest::{Digest, Sum, halves, hash_words};
use super::limits::{CAPACITY_ENTRIES_MAX, TTL_MS_MAX, TTL_MS_MIN};
use super::remembered::Remembered;
use super::snapshot::Frozen;
use super::store::Store;
use super::tombstones::Tombstones;
use super::{CacheConfig, Found, Key, Stats, Tombstone};

/// A cache: keys with values, deadlines and a bounded size, changed by log entries only.
#[derive(Debug)]
pub struct Cache {
    pub(super) config: CacheConfig,
    pub(super) index: u64,
    pub(super) now_ms: u64,
    pub(super) store: Store,
    pub(super) tombstones: Tombstones,
    pub(super) remembered: Remembered,
    pub(super) stats: Stats,
}

/// A key in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// Index of the log entry that last changed it.
    pub revision: u64,
    /// Length of the value.
    pub bytes: u64,
    /// Deadline in log time; `None` lives for ever.
    pub expires_at_ms: Option<u64>,
}

impl Cache {
    /// An empty cache. Settings outside the limits are brought within them.
    pub fn new(config: CacheConfig) -> Self {
        let config = CacheConfig {
            capacity_entries: config.capacity_entries.clamp(1, CAPACITY_ENTRIES_MAX),
            capacity_bytes: config.capacity_bytes.max(1),
            default_ttl_ms: config.default_ttl_ms.map(|ttl| ttl.clamp(TTL_MS_MIN, TTL_MS_MAX)),
            ..config
        };
        Self {
            index: 0,
            now_ms: 0,
            store: Store::new(config.policy),
            tombstones: Tombstones::default(),
            remembered: Remembered::default(),
            stats: Stats::default(),
            config,
        }
    }

    /// A log entry that holds no command was applied: only the index moves.
    pub fn advance(&mut self, index: u64) {
        self.index = self.index.max(index);
    }

    /// The entry of a key, unless its deadline has passed in log time.
    pub fn get(&self, key: &str) -> Option<Found> {
        let (_, entry) = self.store.find(key)?;
        (!entry.is_expired(self.now_ms)).then(|| entry.found())
    }

    /// Keys with a prefix, in order, from the first one after `after`; at most `limit`.
    pub fn keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<(Key, KeyInfo)> {
        let live = self.store.range(prefix, after).filter(|(_, entry)| !entry.is_expired(self.now_ms));
        live.take(limit)
            .map(|(_, entry)| {
                let info = KeyInfo {
                    revision: entry.revision,
                    bytes: entry.payload.bytes().len() as u64,
                    expires_at_ms: entry.expires_at_ms(),
                };
                (entry.key.clone(), info)
            })
            .collect()
    }

    /// The removal that a key's absence is due to, if a delete or clear was it and it is still remembered.
    /// `None` for a key that is there.
    pub fn tombstone(&self, key: &str) -> Option<Tombstone> {
        if self.store.find(key).is_some() {
            return None;
        }
        self.tombstones.find(key).cloned()
    }

    /// Every tombstone, oldest first.
    pub fn tombstones(&self) -> impl Iterator<Item = &Tombstone> {
        self.tombstones.window().iter().map(|(_, tombstone)| tombstone)
    }

    /// Log time: the largest stamp applied so far, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Index of the log entry applied last.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Entries held, expired ones that are still to be purged among them.
    pub fn len(&self) -> u64 {
        self.store.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the entries held count against the capacity.
    pub fn bytes(&self) -> u64 {
        self.store.bytes()
    }

    pub fn config(&self) -> &CacheConfig {
        &self.config
    }

    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The earliest time at which a [`super::Command::Tick`] would do something; `None` when there is nothing
    /// to come. Never before log time.
    pub fn next_due_ms(&self) -> Option<u64> {
        if self.is_over_capacity() && self.store.victim().is_some() {
            return Some(self.now_ms);
        }
        self.store.first_deadline().map(|(deadline, _)| deadline.max(self.now_ms))
    }

    pub(super) fn is_over_capacity(&self) -> bool {
        self.len() > self.config.capacity_entries || self.bytes() > self.config.capacity_bytes
    }

    /// The digest of the whole state.
    pub fn digest(&self) -> Digest {
        let entries = (self.store.slab().sum(), self.bytes());
        self.digest_of(entries, self.tombstones.words(), self.remembered.words())
    }

    /// The digest, computed anew from every record. Slow: for tests and audits.
    pub fn recompute_digest(&self) -> Digest {
        self.digest_of(
            (self.store.slab().recompute_sum(), self.store.recompute_bytes()),
            self.tombstones.recompute_words(),
            self.remembered.recompute_words(),
        )
    }

    /// Makes this replica differ from the others, for tests of those who compare them.
    #[doc(hidden)]
    pub fn corrupt(&mut self) {
        self.stats.puts = self.stats.puts.wrapping_add(1);
    }

    /// A view of the state as it is now, to be encoded elsewhere while the cache goes on.
    pub fn freeze(&self) -> Frozen {
        Frozen::new(self)
    }

    fn digest_of(&self, entries: (Sum, u64), tombstones: [u64; 4], remembered: [u64; 4]) -> Digest {
        let (entries, bytes) = entries;
        let [entries_low, entries_high] = entries.words();
        let [stats_low, stats_high] = halves(self.stats.hash());
        let [tombstones_first, tombstones_next, tombstones_low, tombstones_high] = tombstones;
        let [remembered_first, remembered_next, remembered_low, remembered_high] = remembered;
        Digest(hash_words([
            self.index,
            self.now_ms,
            u64::from(self.config.policy.number()),
            self.config.capacity_entries,
            self.config.capacity_bytes,
            // A TTL has at least 1 ms, so 0 is free to say that there is none.
            self.config.default_ttl_ms.unwrap_or(0),
            stats_low,
            stats_high,
            self.store.recency(),
            self.store.len(),
            bytes,
            u64::from(self.store.slab().slots()),
            entries_low,
            entries_high,
            tombstones_first,
            tombstones_next,
            tombstones_low,
            tombstones_high,
            remembered_first,
            remembered_next,
            remembered_low,
            remembered_high,
        ]))
    }
}
