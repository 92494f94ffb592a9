//! The identity of a node. It is written into the data folder once, and a restart does not change it.

use super::StartError;
use crate::api::Founding;
use crate::peer::{NodeId, PeerIdentity, Protocols};
use crate::storage::LogStore;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The version of the format of [`Identity`].
const IDENTITY_VERSION: u8 = 1;

/// A node's identity in its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub cluster_id: String,
    /// The incarnations of the cluster, oldest first. Each but the first has the log index at which it forked from the
    /// one before it.
    pub incarnations: Vec<Incarnation>,
    pub node_id: NodeId,
    pub name: String,
    /// This node's peer address in the membership; a restart must not change it.
    pub peer: String,
    /// The founding record, on nodes that founded the cluster.
    pub founding: Option<Founding>,
}

/// An identity as it is stored.
#[derive(Serialize)]
struct StoredIdentity<'a> {
    format: u8,
    #[serde(flatten)]
    identity: &'a Identity,
}

/// The field that every version of the format has.
#[derive(Deserialize)]
struct Versioned {
    format: u8,
}

/// One unbroken history of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Incarnation {
    pub number: u64,
    pub fork_index: u64,
    /// Its unique id: if a backup is restored twice, the two incarnations have the same number but different ids.
    pub id: String,
}

/// The lineage of a state: its cluster and that cluster's incarnations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lineage {
    pub cluster_id: String,
    pub incarnations: Vec<Incarnation>,
}

impl Identity {
    /// The first incarnation of a cluster; its id is the cluster's.
    pub fn first_incarnation(cluster_id: &str) -> Vec<Incarnation> {
        vec![Incarnation { number: 1, fork_index: 0, id: cluster_id.to_owned() }]
    }

    /// The id of this node's incarnation.
    pub fn history(&self) -> &str {
        self.incarnations.last().map_or("", |last| &last.id)
    }

    pub fn incarnation(&self) -> u64 {
        self.incarnations.last().map_or(1, |last| last.number)
    }

    /// The encoded lineage, which every snapshot contains.
    pub fn lineage(&self) -> Bytes {
        let lineage =
            Lineage { cluster_id: self.cluster_id.clone(), incarnations: self.incarnations.clone() };
        serde_json::to_vec(&lineage).map(Bytes::from).unwrap_or_default()
    }

    pub fn peer_identity(&self, protocols: Protocols) -> PeerIdentity {
        PeerIdentity {
            cluster_id: self.cluster_id.clone(),
            incarnation: self.incarnation(),
            history: self.history().to_owned(),
            node_id: self.node_id,
            protocols,
        }
    }

    /// The identity in a data folder, if it has one.
    ///
    /// # Errors
    /// [`StartError::Identity`] when it can't be read.
    pub fn load(store: &LogStore) -> Result<Option<Self>, StartError> {
        let unreadable = |error: serde_json::Error| StartError::Identity(error.to_string());
        let Some(bytes) = store.identity() else { return Ok(None) };
        let Versioned { format } = serde_json::from_slice(&bytes).map_err(unreadable)?;
        if format != IDENTITY_VERSION {
            let reason = format!("it has format version {format}, this program reads {IDENTITY_VERSION}");
            return Err(StartError::Identity(reason));
        }
        serde_json::from_slice(&bytes).map(Some).map_err(unreadable)
    }

    /// Writes the identity; durable when this returns.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn save(&self, store: &LogStore) -> Result<(), StartError> {
        let saved = StoredIdentity { format: IDENTITY_VERSION, identity: self };
        let bytes = serde_json::to_vec(&saved).map_err(|e| StartError::Identity(e.to_string()))?;
        Ok(store.save_identity(bytes.into())?)
    }
}

/// The UUID of the data folder, which is in the membership and in the founding record.
pub(super) fn store_uuid(store: &LogStore) -> String {
    store.store_id().to_string()
}
