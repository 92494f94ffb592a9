//! The state that a node's operations share. The operations are `impl` blocks in files of their own.

use super::admission::Admission;
use super::audit::Audit;
use super::departure::Departure;
use super::error::NodeError;
use super::freshness::Freshness;
use super::identity::{Identity, KeptIdentity};
use super::leadership::LastSupporters;
use super::nodes::NodeStatusCache;
use super::options::NodeOptions;
use super::own_writes::OwnWrites;
use super::read_index::ReadIndexQueue;
use super::samples::Samples;
use super::silence::Silence;
use super::supersession::Supersession;
use super::touches::Touches;
use super::warnings::OtherClusters;
use super::write_gate::WriteGate;
use crate::peer::{Links, PeerServer};
use crate::raft::Consensus;
use crate::storage::{LogStore, Snapshots};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The state of a running node, which all its operations share.
pub(super) struct Inner {
    /// As it was when the node started.
    pub identity: Identity,
    /// As it is in the folder.
    pub kept_identity: KeptIdentity,
    pub options: NodeOptions,
    pub consensus: Consensus,
    pub store: LogStore,
    pub snapshots: Snapshots,
    pub admission: Admission,
    pub read_index: ReadIndexQueue,
    pub last_supporters: LastSupporters,
    pub touches: Touches,
    pub audit: Audit,
    pub other_clusters: OtherClusters,
    pub supersession: Supersession,
    pub write_gate: WriteGate,
    pub departure: Departure,
    /// Held by the leader while it changes members, so that a node that asks twice to be added gets one number.
    pub membership_lock: tokio::sync::Mutex<()>,
    /// Of members, as the leader knows it.
    pub silence: Silence,
    pub links: Links,
    pub node_status_cache: NodeStatusCache,
    pub samples: Samples,
    /// Held by a request for digests of ranges of keys.
    pub range_digests: Semaphore,
    pub freshness: Freshness,
    pub own_writes: OwnWrites,
    pub started: Instant,
    pub draining: AtomicBool,
    /// Notified when `draining` is set.
    pub drains: Notify,
    pub running: Mutex<Option<Running>>,
}

/// The server and the tasks that end with the node.
pub(super) struct Running {
    pub peer_server: PeerServer,
    pub _tasks: JoinSet<()>,
}

impl Inner {
    /// Answers what peers have forwarded to this node, and takes nothing more: it is about to go.
    pub(super) async fn end_forwarding(&self) {
        let ending = {
            let running = self.running.lock().expect("no panic while held");
            running.as_ref().map(|running| running.peer_server.end_forwarding())
        };
        if let Some(ending) = ending {
            ending.await;
        }
    }

    /// Log time by this node's clock, in milliseconds since the Unix epoch.
    pub(super) fn now_ms(&self) -> u64 {
        let clock_ms = self.consensus.clock().now_ms().unwrap_or(0);
        self.consensus.replica().with_cache(|cache| cache.now_ms().max(clock_ms))
    }

    pub(super) fn refuse_when_draining(&self) -> Result<(), NodeError> {
        if self.draining.load(Ordering::Acquire) {
            return Err(NodeError::Unavailable("this node is stopping".into()));
        }
        Ok(())
    }
}
