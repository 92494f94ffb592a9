//! What openraft is told about time, and about how long the log is kept.

use super::consensus::Timing;
use crate::peer::PeerIdentity;
use openraft::{Config, SnapshotPolicy};

pub(super) fn config(me: &PeerIdentity, timing: &Timing) -> Config {
    Config {
        cluster_name: me.cluster_id.clone(),
        heartbeat_interval: timing.heartbeat_ms,
        election_timeout_min: timing.election_min_ms,
        election_timeout_max: timing.election_max_ms,
        // The term does not rise when a node that cannot win comes back.
        enable_pre_vote: Some(true),
        // After losing its quorum a leader falls silent for a while, so that nodes which still hear it
        // elect one that reaches a majority. At least twice the largest election timeout.
        quorum_loss_probe_interval: Some(2 * timing.election_max_ms),
        // The cache is in memory: a restarted leader must be elected anew before it answers anything.
        enable_leader_restore: Some(false),
        allow_log_reversion: None,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(timing.snapshot_entries),
        max_in_snapshot_log_to_keep: timing.entries_kept,
        purge_batch_size: (timing.snapshot_entries / 4).clamp(1, 1_024),
        replication_lag_threshold: timing.snapshot_entries.saturating_add(timing.entries_kept),
        max_payload_entries: 1_024,
        install_snapshot_timeout: 60_000,
        backoff: "50ms 100ms ..500ms".into(),
        ..Config::default()
    }
}
