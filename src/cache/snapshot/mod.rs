//! Snapshots: the whole state as bytes, equal on all nodes at equal index.
//!
//! [`SnapshotView`] shares memory with the cache from which it was taken, and is encoded on another thread while the cache
//! goes on. [`Cache::restore`] is the way back; it refuses bytes that are not exactly what was encoded.
//!
//! The format, in this order: magic, version, digest, scalars, slots by number, free list, pending clears,
//! the state of each eviction policy, tombstones, lost keys, deduplicated results, open forks, merges, tokens, client sessions and
//! their locks, the log of operators. `codec.rs` has the encoding of numbers and texts.

mod encode;
mod restore;

pub(super) use restore::entries as some_entries;

use super::codec::DecodeError;
use super::dedup::DedupEntry;
use super::eviction::PolicyStates;
use super::forks::ForkView;
use super::limits::FEATURE_LEVEL;
use super::lost_keys::LostKeys;
use super::merge::Merge;
use super::numbered_queue::NumberedQueue;
use super::pending_clears::Clear;
use super::slab::Slab;
use super::tombstones::{Forgotten, Tombstone};
use super::{
    AdminAction, Block, BrowserSession, Cache, CacheConfig, ClientSession, Digest, JoinToken, Lock, Stats,
    Token,
};
use std::collections::BTreeMap;
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"LSCACHE\n";
/// Raised with every change of the format.
const VERSION: u32 = 1;

/// The state of a cache at one index, whatever happens to the cache afterwards.
#[derive(Debug)]
pub struct SnapshotView {
    digest: Digest,
    index: u64,
    now_ms: u64,
    config: CacheConfig,
    stats: Stats,
    recency_clock: u64,
    feature_level: u32,
    policies: PolicyStates,
    slab: Slab,
    clears: Vec<Clear>,
    tombstones: NumberedQueue<Tombstone>,
    forgotten: Forgotten,
    lost_keys: LostKeys,
    dedup: NumberedQueue<DedupEntry>,
    /// Index of the newest result that was dropped.
    dedup_forgotten: u64,
    forks: Vec<ForkView>,
    merges: Vec<Merge>,
    decided: BTreeMap<String, u64>,
    tokens: Vec<Arc<Token>>,
    sessions: Vec<BrowserSession>,
    blocks: Vec<Block>,
    joins: Vec<JoinToken>,
    client_sessions: Vec<ClientSession>,
    locks: Vec<Lock>,
    tokens_revision: u64,
    admin_log: NumberedQueue<AdminAction>,
    admin_count: u64,
}

impl Cache {
    /// A view of the state as it is now. Taking it is cheap: it shares memory with the cache.
    pub fn snapshot_view(&self) -> SnapshotView {
        SnapshotView::new(self)
    }
}

impl SnapshotView {
    fn new(cache: &Cache) -> Self {
        Self {
            digest: cache.digest(),
            index: cache.index,
            now_ms: cache.now_ms,
            config: cache.config.clone(),
            stats: cache.stats,
            recency_clock: cache.store.recency_clock(),
            feature_level: cache.feature_level,
            policies: cache.store.policies().states(),
            slab: cache.store.slab().view(),
            clears: cache.store.pending_clears().clears().cloned().collect(),
            tombstones: cache.tombstones.queue().clone(),
            forgotten: cache.tombstones.forgotten(),
            lost_keys: cache.lost_keys.clone(),
            dedup: cache.dedup.queue().clone(),
            dedup_forgotten: cache.dedup.forgotten(),
            forks: cache.forks.views(),
            merges: cache.merges.all().to_vec(),
            decided: cache.merges.decided().clone(),
            tokens: cache.tokens.all().cloned().collect(),
            sessions: cache.tokens.sessions().cloned().collect(),
            blocks: cache.tokens.blocks().collect(),
            joins: cache.tokens.joins().cloned().collect(),
            client_sessions: cache.client_sessions.all().cloned().collect(),
            locks: cache.client_sessions.locks().cloned().collect(),
            tokens_revision: cache.tokens.revision(),
            admin_log: cache.admin_log.queue().clone(),
            admin_count: cache.admin_log.count(),
        }
    }

    /// Index of the last log entry in it.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The digest of the state in it.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// Why bytes are no snapshot. Nothing is ever restored partially.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("the snapshot ends too early")]
    Truncated,
    #[error("the snapshot cannot be read: {0}")]
    Io(std::io::Error),
    #[error("these bytes are no cache snapshot")]
    NotASnapshot,
    #[error("the snapshot has format version {0}, this program reads version {VERSION}")]
    Version(u32),
    #[error("the snapshot has feature level {0}, this program knows up to {FEATURE_LEVEL}")]
    FeatureLevel(u32),
    #[error("the snapshot is damaged: {0}")]
    Damaged(&'static str),
    #[error("the snapshot is damaged: its digest is {written}, its content has {computed}")]
    Digest { written: Digest, computed: Digest },
}

impl From<DecodeError> for RestoreError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Truncated => Self::Truncated,
            DecodeError::Io(error) => Self::Io(error),
            DecodeError::Damaged(what) => Self::Damaged(what),
        }
    }
}
