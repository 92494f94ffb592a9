//! The options of Raft on this node, and openraft's configuration made from them.

use crate::peer::PeerIdentity;
use openraft::{Config, SnapshotPolicy};

/// The timing of elections and snapshots on this node.
#[derive(Debug, Clone)]
pub struct RaftOptions {
    /// The pause between a leader's heartbeats.
    pub heartbeat_ms: u64,
    /// How long a follower hears nothing from a leader before it starts an election, at least, where round trips take
    /// next to no time.
    pub election_min_ms: u64,
    /// The same, at most, however long round trips take.
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
            election_min_ms: 300,
            election_max_ms: 5_000,
            snapshot_entries: 100_000,
            entries_kept: 20_000,
        }
    }
}

pub(super) fn config(me: &PeerIdentity, options: &RaftOptions) -> Config {
    Config {
        cluster_name: me.lineage.cluster_id().to_owned(),
        // `Timing` decides when there are heartbeats and elections. What is left of openraft's timing is how long its
        // heartbeats and its requests for votes may take.
        enable_heartbeat: false,
        enable_elect: false,
        heartbeat_interval: (options.election_max_ms / 4).max(1),
        election_timeout_min: (options.election_max_ms * 3 / 8).max(2),
        election_timeout_max: (options.election_max_ms / 2).max(3),
        // The cache is in memory, so a restarted leader must be elected again before it answers anything.
        enable_leader_restore: Some(false),
        allow_log_reversion: None,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot_entries),
        // openraft purges nothing by itself: `node::background::compact_log` decides what is purged, by entries and by bytes.
        // Of two who decide, one can ask for less than the other did, and openraft takes no purge back.
        max_in_snapshot_log_to_keep: u64::MAX,
        replication_lag_threshold: options.snapshot_entries.saturating_add(options.entries_kept),
        // A follower that is far behind gets as many before it has to answer. The log limits the bytes of each request, and
        // the network those in flight.
        max_payload_entries: 65_536,
        install_snapshot_timeout: 60_000,
        backoff: "50ms 100ms ..500ms".into(),
        ..Config::default()
    }
}
