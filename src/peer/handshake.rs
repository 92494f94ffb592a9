//! The handshake: the first frame in each direction. It identifies both nodes and selects the version of the protocol.
//! A foreign caller is refused before it can send a request.
//!
//! The caller's frame starts with four magic bytes and the range of versions that it speaks; these six bytes never
//! change. The rest may only grow at its end: a node skips bytes that it does not know.

use super::NodeId;
use crate::lineage::{History, Lineage};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const MAGIC: [u8; 4] = *b"LSTP";

/// The Raft group of a connection or request. A node serves one group today. The number is in every frame so that
/// several groups will not break the protocol.
pub type GroupId = u32;

/// The only group.
pub const GROUP: GroupId = 0;

/// The range of versions of the peer protocol that a node speaks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocols {
    pub min: u8,
    pub max: u8,
}

impl Protocols {
    /// The versions that this program speaks. Raise `max` if frames or messages change in a way that older nodes
    /// misread. Raise `min` when an old version is dropped.
    pub const THIS: Self = Self { min: 1, max: 1 };

    pub fn contains(self, version: u8) -> bool {
        (self.min..=self.max).contains(&version)
    }

    /// The newest version that both nodes speak.
    fn common(self, other: Self) -> Option<u8> {
        let newest = self.max.min(other.max);
        (newest >= self.min.max(other.min)).then_some(newest)
    }
}

impl std::fmt::Display for Protocols {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.min == self.max {
            true => write!(f, "{}", self.max),
            false => write!(f, "{} to {}", self.min, self.max),
        }
    }
}

/// The purpose of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Lane {
    /// Votes, heartbeats, read-index and clock requests: small and urgent.
    Control,
    /// Log entries, answered in order.
    Append,
    /// Snapshots: bulk data.
    Snapshot,
    /// Client writes forwarded to the leader.
    Forward,
}

/// How this node identifies itself to its peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Its cluster, and the histories up to the one that its log belongs to.
    pub lineage: Arc<Lineage>,
    pub node_id: NodeId,
    pub protocols: Protocols,
}

/// The first frame of the dialling side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    magic: [u8; 4],
    protocols: Protocols,
    body: HelloBody,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct HelloBody {
    cluster_id: String,
    /// The id of its history.
    history: String,
    from: NodeId,
    to: NodeId,
    group: GroupId,
    lane: Lane,
}

/// The response of the accepting side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Welcome {
    /// The version that both sides speak on this connection.
    Accepted { protocol: u8 },
    /// The node belongs to another cluster. The response does not contain that cluster's id, because the caller may be
    /// anybody.
    OtherCluster,
    /// The node's log belongs to another history of the cluster, the last one of this lineage. The caller can tell from it
    /// which of the two goes on from the other.
    OtherHistory(Lineage),
    /// Refused for another reason, given in a sentence.
    Refused(String),
}

impl std::fmt::Display for Welcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Accepted { protocol } => write!(f, "welcome, with protocol {protocol}"),
            Self::OtherCluster => f.write_str("this node belongs to another cluster"),
            Self::OtherHistory(lineage) => {
                let History { number, id, .. } = lineage.current();
                write!(
                    f,
                    "this node's log belongs to history {number} ({id}), and the caller's to another one"
                )
            }
            Self::Refused(sentence) => f.write_str(sentence),
        }
    }
}

impl Welcome {
    pub fn encode(&self) -> Vec<u8> {
        // Encoding into memory does not fail for these types.
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// Decodes the output of [`encode`](Self::encode). Ignores trailing bytes, which a later version may send.
    ///
    /// # Errors
    /// A sentence.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        postcard::take_from_bytes(bytes).map(|(welcome, _)| welcome).map_err(|error| error.to_string())
    }
}

impl Hello {
    pub fn new(me: &PeerIdentity, to: NodeId, lane: Lane) -> Self {
        let body = HelloBody {
            cluster_id: me.lineage.cluster_id().to_owned(),
            history: me.lineage.current().id.clone(),
            from: me.node_id,
            to,
            group: GROUP,
            lane,
        };
        Self { magic: MAGIC, protocols: me.protocols, body }
    }

    pub fn from(&self) -> NodeId {
        self.body.from
    }

    pub fn lane(&self) -> Lane {
        self.body.lane
    }

    /// Whether the caller's log belongs to one of the histories before the last one of a lineage.
    pub fn is_of_earlier_history(&self, lineage: &Lineage) -> bool {
        let (_, earlier) = lineage.histories().split_last().expect("a lineage has a history");
        earlier.iter().any(|history| history.id == self.body.history)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend([self.protocols.min, self.protocols.max]);
        // Encoding into memory does not fail for these types.
        postcard::to_extend(&self.body, out).unwrap_or_default()
    }

    /// Decodes the output of [`encode`](Self::encode). Ignores trailing bytes, which a later version may send.
    ///
    /// # Errors
    /// A sentence for the caller.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let unreadable = || "the handshake cannot be read".to_owned();
        let (magic, rest) = bytes.split_first_chunk().ok_or_else(unreadable)?;
        if *magic != MAGIC {
            return Err("this is a Lockstep peer port, and the caller is no Lockstep node".into());
        }
        let ([min, max], rest) = rest.split_first_chunk().ok_or_else(unreadable)?;
        let (body, _) = postcard::take_from_bytes(rest).map_err(|_| unreadable())?;
        Ok(Self { magic: *magic, protocols: Protocols { min: *min, max: *max }, body })
    }

    /// Checks a caller against this node's identity. Returns the response; only [`Welcome::Accepted`] keeps the
    /// connection.
    pub fn check(&self, me: &PeerIdentity) -> Welcome {
        let caller = &self.body;
        let Some(protocol) = me.protocols.common(self.protocols) else {
            let (mine, theirs) = (me.protocols, self.protocols);
            let sentence =
                format!("this node speaks version {mine} of the peer protocol, the caller {theirs}");
            return Welcome::Refused(sentence);
        };
        if caller.cluster_id != me.lineage.cluster_id() {
            return Welcome::OtherCluster;
        }
        if caller.history != me.lineage.current().id {
            return Welcome::OtherHistory(Lineage::clone(&me.lineage));
        }
        let refused = |sentence| Welcome::Refused(sentence);
        if caller.to != me.node_id {
            return refused(format!("this is node {}, not node {}", me.node_id, caller.to));
        }
        if caller.from == me.node_id {
            return refused(format!("the caller claims to be this very node {}", me.node_id));
        }
        if caller.group != GROUP {
            return refused(format!("group {} is not served here", caller.group));
        }
        Welcome::Accepted { protocol }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_is_spoken() {
        let protocols = |min, max| Protocols { min, max };
        for (mine, theirs, common) in [
            (protocols(1, 1), protocols(1, 1), Some(1)),
            (protocols(1, 2), protocols(1, 1), Some(1)),
            (protocols(1, 3), protocols(2, 5), Some(3)),
            (protocols(2, 3), protocols(1, 1), None),
            (protocols(1, 1), protocols(2, 3), None),
            (protocols(3, 1), protocols(1, 3), None),
        ] {
            assert_eq!(mine.common(theirs), common, "{mine} and {theirs}");
            assert_eq!(theirs.common(mine), common, "{theirs} and {mine}");
        }
    }
}
