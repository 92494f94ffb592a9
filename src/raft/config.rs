//! The options of Raft on this node, and openraft's configuration made from them.

use crate::peer::PeerIdentity;
use openraft::{Config, SnapshotPolicy};

/// The timing of elections and snapshots on this node.
///
/// A follower that hears nothing from the leader starts an election after the leader's lease (`election_max_ms`) plus a
/// random time between `election_min_ms` and `election_max_ms`: 450 to 600 ms by default.
#[derive(Debug, Clone)]
pub struct RaftOptions {
    pub heartbeat_ms: u64,
    pub election_min_ms: u64,
    pub election_max_ms: u64,
    /// A snapshot is taken each time so many entries were added.
    pub snapshot_entries: u64,
    /// Entries that the log keeps although a snapshot covers them, so that a node that is a little behind needs no
    /// snapshot.
    pub entries_kept: u64,
}

impl Default for RaftOptions {
    fn default() -> Self {
        Self {
            heartbeat_ms: 75,
            election_min_ms: 150,
            election_max_ms: 300,
            snapshot_entries: 100_000,
            entries_kept: 20_000,
        }
    }
}

pub(super) fn config(me: &PeerIdentity, options: &RaftOptions) -> Config {
    Config {
        cluster_name: me.cluster_id.clone(),
        heartbeat_interval: options.heartbeat_ms,
        election_timeout_min: options.election_min_ms,
        election_timeout_max: options.election_max_ms,
        // A node that returns and cannot win must not raise the term.
        enable_pre_vote: Some(true),
        // A leader that has lost its majority is silent for this long, so that nodes that still hear it elect one that
        // reaches a majority. It must be at least twice the largest election timeout.
        quorum_loss_probe_interval: Some(2 * options.election_max_ms),
        // The cache is in memory, so a restarted leader must be elected again before it answers anything.
        enable_leader_restore: Some(false),
        allow_log_reversion: None,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot_entries),
        max_in_snapshot_log_to_keep: options.entries_kept,
        purge_batch_size: (options.snapshot_entries / 4).clamp(1, 1_024),
        replication_lag_threshold: options.snapshot_entries.saturating_add(options.entries_kept),
        max_payload_entries: 1_024,
        install_snapshot_timeout: 60_000,
        backoff: "50ms 100ms ..500ms".into(),
        ..Config::default()
    }
}
