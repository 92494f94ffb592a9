//! The identity of a node. It is written into the data folder once, and a restart does not change it.

use super::StartError;
use super::departure::Leaving;
use super::supersession::Successor;
use crate::api::Founding;
use crate::lineage::Lineage;
use crate::peer::{NodeId, PeerIdentity, Protocols};
use crate::raft::offload;
use crate::storage::LogStore;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

/// The version of the format of [`Identity`].
const IDENTITY_VERSION: u8 = 1;

/// A node's identity in its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// The cluster, and its histories up to the one that this data folder belongs to.
    pub lineage: Lineage,
    pub node_id: NodeId,
    pub name: String,
    /// This node's peer address in the membership; a restart must not change it.
    pub peer: String,
    /// The founding record, on nodes that founded the cluster.
    pub founding: Option<Founding>,
    /// After a recovery: clients' writes are refused until so many nodes have votes. Otherwise 0.
    #[serde(default)]
    pub voters_awaited: usize,
    /// Of a survivor that joined the recovered history: whether it had a vote before, and so wants one. True of a node of a list
    /// that has taken the place of a lost one. `null` on other nodes.
    #[serde(default)]
    pub wants_vote: Option<bool>,
    /// The history that goes on from this one without this node, once the node has given way to it.
    #[serde(default)]
    pub superseded_by: Option<Successor>,
    /// How far the node is that leaves its cluster on purpose.
    #[serde(default)]
    pub leaving: Option<Leaving>,
    /// The history of its own from which this node has come back. The fork to it is to be closed.
    #[serde(default)]
    pub comes_from: Option<String>,
    /// What it left, of a node that has left its cluster on purpose.
    #[serde(default)]
    pub detached: Option<Detached>,
}

/// What a node left that has left its cluster on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Detached {
    /// The number that it had.
    pub node_id: NodeId,
    /// Whether it had a vote.
    pub voter: bool,
    /// The URLs of the other members.
    pub urls: Vec<String>,
    /// Whether it left without asking them, and so may still count as a member.
    pub forced: bool,
}

/// The identity as the data folder has it, for whoever changes a part of it.
pub(super) struct KeptIdentity {
    kept: Mutex<Identity>,
    store: LogStore,
}

impl KeptIdentity {
    /// That of a node that starts.
    pub fn new(identity: Identity, store: LogStore) -> Self {
        Self { kept: Mutex::new(identity), store }
    }

    /// Changes it, durably. The other parts stay as they are.
    ///
    /// # Errors
    /// A sentence; it may have been written all the same.
    pub async fn change(&self, change: impl FnOnce(&mut Identity)) -> Result<(), String> {
        let mut kept = self.kept.lock().await;
        let mut changed = kept.clone();
        change(&mut changed);
        let (store, saved) = (self.store.clone(), changed.clone());
        let saving = offload(move || saved.save(&store).map_err(|error| error.to_string()));
        saving.await.map_err(|error| error.to_string()).flatten()?;
        *kept = changed;
        Ok(())
    }
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

impl Identity {
    pub fn cluster_id(&self) -> &str {
        self.lineage.cluster_id()
    }

    pub fn peer_identity(&self, protocols: Protocols) -> PeerIdentity {
        PeerIdentity { lineage: self.lineage.clone().into(), node_id: self.node_id, protocols }
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
