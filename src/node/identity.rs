//! Who this node is: written into its data folder once, and never changed by a restart.

use super::StartError;
use crate::api::Founding;
use crate::peer::{NodeId, PeerIdentity, Protocols};
use crate::storage::LogStore;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The version of the format of [`Identity`].
const IDENTITY_VERSION: u8 = 1;

/// A node's place in its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub cluster_id: String,
    /// The histories the cluster has lived through, oldest first. Each but the first names the log index
    /// at which it left the one before.
    pub incarnations: Vec<Incarnation>,
    pub node_id: NodeId,
    pub name: String,
    /// Where the other members reach this node: what the membership says, so a restart must not change it.
    pub peer: String,
    /// How the cluster began, on nodes that were there.
    pub founding: Option<Founding>,
}

/// An identity as it is kept.
#[derive(Serialize)]
struct Saved<'a> {
    format: u8,
    #[serde(flatten)]
    identity: &'a Identity,
}

/// What every version of it has.
#[derive(Deserialize)]
struct Versioned {
    format: u8,
}

/// One unbroken history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Incarnation {
    pub number: u64,
    pub fork_index: u64,
    /// Its own name: two histories that fork at one place, as when a backup is restored twice, are two.
    pub id: String,
}

/// The cluster and the histories that a state comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lineage {
    pub cluster_id: String,
    pub incarnations: Vec<Incarnation>,
}

impl Identity {
    /// The history a cluster begins with; it bears the cluster's own name.
    pub fn first_incarnation(cluster_id: &str) -> Vec<Incarnation> {
        vec![Incarnation { number: 1, fork_index: 0, id: cluster_id.to_owned() }]
    }

    /// The name of the history this node lives in.
    pub fn history(&self) -> &str {
        self.incarnations.last().map_or("", |last| &last.id)
    }

    pub fn incarnation(&self) -> u64 {
        self.incarnations.last().map_or(1, |last| last.number)
    }

    /// What every snapshot says of its origin.
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
        let saved = Saved { format: IDENTITY_VERSION, identity: self };
        let bytes = serde_json::to_vec(&saved).map_err(|e| StartError::Identity(e.to_string()))?;
        Ok(store.save_identity(bytes.into())?)
    }
}

/// The folder's own number, as the membership and the founding record keep it.
pub(super) fn store_uuid(store: &LogStore) -> String {
    store.store_id().to_string()
}
