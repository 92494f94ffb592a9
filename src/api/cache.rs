//! What a node reports about its cache: counts, hot keys, the next victims, and what other policies would have done.

use crate::cache::{Policy, Stats};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Answer of `GET /v1/cache`, and a part of `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CacheReport {
    pub policy: Policy,
    pub entries: u64,
    /// What the entries count against the capacity in bytes.
    pub bytes: u64,
    /// Entries that were cleared and whose memory is not freed yet; `bytes` includes them, `entries` does not.
    pub entries_to_free: u64,
    /// Entries that a switch of the policy has still to move.
    pub entries_to_move: u64,
    /// The rules that all nodes keep.
    pub feature_level: u32,
    /// What log entries did since the cluster began: the same on every node at the same index.
    pub counts: Stats,
    pub reads: ReadCounts,
    pub touches: TouchReport,
    /// The keys that clients read most often on this node in the last minutes, in descending order.
    pub hot_keys: Vec<HotKey>,
    /// The keys that are evicted next if nothing is used meanwhile.
    pub next_victims: Vec<NextVictim>,
    /// What other policies would have done with the reads of the whole cluster; `null` if the leader, which
    /// estimates that, could not be asked.
    pub shadow: Option<ShadowHits>,
}

impl CacheReport {
    /// For those who may not read all keys.
    pub fn forget_keys(&mut self) {
        self.hot_keys.clear();
        self.next_victims.clear();
    }
}

/// Reads of single keys that this node answered since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ReadCounts {
    pub hits: u64,
    pub misses: u64,
    /// `null` before the first read.
    pub hit_percent: Option<f64>,
}

/// How this node's reads came to count for eviction since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TouchReport {
    /// Entries whose touches were sent to the leader, counted once per message.
    pub sent: u64,
    /// Reads that did not change the eviction order.
    pub suppressed: u64,
    /// Reads that did not fit or were lost on the way: they do not count.
    pub dropped: u64,
    /// Log entries with touches that this node proposed as the leader, and the bytes of these touches.
    pub log_entries: u64,
    pub log_bytes: u64,
}

/// A key that is read often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotKey {
    pub key: String,
    /// About how often; older reads count less.
    pub reads: u64,
}

/// A key that is evicted soon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextVictim {
    pub key: String,
    /// Uses that were counted.
    pub frequency: u64,
    pub bytes: u64,
}

/// Estimated hit ratios of other policies, from shadow caches that see a sample of the keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShadowHits {
    /// One key in this many is sampled.
    pub one_key_in: u64,
    /// The number of sampled reads behind the estimate.
    pub reads: u64,
    /// By policy, in percent; empty before the first reads.
    pub hit_percent: BTreeMap<String, f64>,
}
