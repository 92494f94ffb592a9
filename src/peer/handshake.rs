//! The first frame each way: who is there. Anything foreign is refused before a single request.

use super::NodeId;
use serde::{Deserialize, Serialize};

/// Raised when frames or messages change in a way that older nodes misread.
const PROTOCOL_VERSION: u32 = 2;
const MAGIC: [u8; 4] = *b"LSTP";

/// What a caller of another cluster is told. Neither id is: the caller may be a stranger, and its text may be anything.
pub(super) const OTHER_CLUSTER: &str = "this node belongs to another cluster";

/// What a connection is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Lane {
    /// Votes, heartbeats, read-index and clock requests: small and urgent.
    Control,
    /// Log entries, answered in order.
    Append,
    /// Snapshots: bulk.
    Snapshot,
    /// Client writes forwarded to the leader.
    Forward,
}

/// Who this node is to its peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    pub cluster_id: String,
    /// How often the cluster was re-formed; another incarnation is another history.
    pub incarnation: u64,
    /// That history's own name.
    pub history: String,
    pub node_id: NodeId,
}

/// What the dialling side says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    magic: [u8; 4],
    version: u32,
    cluster_id: String,
    incarnation: u64,
    history: String,
    from: NodeId,
    to: NodeId,
    lane: Lane,
}

/// What the accepting side answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Welcome {
    Accepted,
    Refused(String),
}

impl Hello {
    pub fn new(me: &PeerIdentity, to: NodeId, lane: Lane) -> Self {
        Self {
            magic: MAGIC,
            version: PROTOCOL_VERSION,
            cluster_id: me.cluster_id.clone(),
            incarnation: me.incarnation,
            history: me.history.clone(),
            from: me.node_id,
            to,
            lane,
        }
    }

    pub fn from(&self) -> NodeId {
        self.from
    }

    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// Checks a caller against who we are.
    ///
    /// # Errors
    /// The sentence the caller is told.
    pub fn check(&self, me: &PeerIdentity) -> Result<(), String> {
        if self.magic != MAGIC {
            return Err("this is a Lockstep peer port, and the caller is no Lockstep node".into());
        }
        if self.version != PROTOCOL_VERSION {
            return Err(format!(
                "peer protocol {} is not spoken here, only {PROTOCOL_VERSION}",
                self.version
            ));
        }
        if self.cluster_id != me.cluster_id {
            return Err(OTHER_CLUSTER.into());
        }
        if self.incarnation != me.incarnation {
            let (mine, theirs) = (me.incarnation, self.incarnation);
            return Err(format!("this node lives in incarnation {mine} of the cluster, not in {theirs}"));
        }
        if self.history != me.history {
            return Err(format!("this node lives in another history of incarnation {}", me.incarnation));
        }
        if self.to != me.node_id {
            return Err(format!("this is node {}, not node {}", me.node_id, self.to));
        }
        if self.from == me.node_id {
            return Err(format!("the caller claims to be this very node {}", me.node_id));
        }
        Ok(())
    }
}
