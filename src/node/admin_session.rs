//! The operator's requests to a node: status, reports, and membership changes. They do not reach the data.

use super::access::Principal;
use super::admin::{AdminDone, AdminRequest};
use super::error::NodeError;
use super::memory::MemoryPart;
use super::samples::SamplesOf;
use super::session::SessionError;
use super::start::Node;
use crate::api::{
    AddMember, CacheReport, DetachStatus, Digests, FeatureLevel, Joined, Members, Nodes, Status,
};
use crate::cache::Cache;
use crate::peer::{Links, NodeId};
use crate::replica::ApplyStats;
use crate::storage::{FlushStats, SnapshotFile};
use crate::tls::Certificates;
use std::sync::Arc;
use std::time::Duration;

/// The operator's side of a session; see [`super::Session::admin`].
#[derive(Clone)]
pub struct Admin {
    node: Node,
    /// Who asks. The leader judges what it is to carry out.
    principal: Principal,
}

impl Admin {
    pub(super) fn new(node: Node, principal: Principal) -> Self {
        Self { node, principal }
    }

    /// This node's status and its view of the cluster.
    pub async fn status(&self) -> Status {
        self.node.status().await
    }

    /// What this node knows about the cache.
    pub async fn cache_report(&self) -> CacheReport {
        self.node.cache_report().await
    }

    /// This node's newest digests.
    pub fn digests(&self) -> Digests {
        self.node.digests()
    }

    /// The members of the cluster.
    pub async fn members(&self) -> Members {
        self.node.members().await
    }

    /// The status of every member, each asked now.
    pub async fn nodes(&self) -> Nodes {
        self.node.nodes().await
    }

    /// The status of every member, at most half a second old; see [`Node::nodes_cached`].
    pub async fn nodes_cached(&self) -> Arc<Nodes> {
        self.node.nodes_cached().await
    }

    /// A member's samples that were taken after `since_ms` by its own clock; see [`Node::samples_of`].
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn samples_of(&self, id: NodeId, since_ms: u64) -> Result<SamplesOf, SessionError> {
        self.outcome(self.node.samples_of(id, since_ms).await)
    }

    /// Ends this node's part in its history, if a member says that it goes on in a recovered one without this node.
    ///
    /// # Errors
    /// [`SessionError`]: nobody says so, or it cannot be written down.
    pub async fn fence(&self) -> Result<(), SessionError> {
        self.outcome(self.node.fence().await)
    }

    /// Has this node leave its cluster on purpose, to go on alone; see [`Node::reopens`]. `forced`: without asking the others, who count
    /// it as a silent member then.
    ///
    /// # Errors
    /// [`SessionError`]: it stays a member.
    pub async fn detach(&self, forced: bool) -> Result<(), SessionError> {
        self.outcome(self.node.inner.detach(&self.principal, forced).await)
    }

    /// Whether this node has left its cluster, or is about to leave or to come back.
    pub fn detach_status(&self) -> DetachStatus {
        self.node.detach_status()
    }

    /// The node, for whoever brings it back into its cluster.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// This node's number.
    pub fn node_id(&self) -> NodeId {
        self.node.id()
    }

    /// Times of this node's log flushes.
    pub fn flushes(&self) -> FlushStats {
        self.node.flushes()
    }

    /// A typical round trip between this node and a majority, and the election timeout that follows from it.
    pub fn round_trip(&self) -> (Duration, Duration) {
        self.node.round_trip()
    }

    /// Times that this node took to apply log entries.
    pub fn apply_stats(&self) -> ApplyStats {
        self.node.apply_stats()
    }

    /// The memory that this node takes, by what holds it.
    pub fn memory(&self) -> Vec<MemoryPart> {
        self.node.memory()
    }

    /// The certificates of this node's ports.
    pub fn certificates(&self) -> &Certificates {
        self.node.certificates()
    }

    /// Bytes of the entries in this node's log, about.
    pub fn log_bytes(&self) -> u64 {
        self.node.log_bytes()
    }

    /// How many client sessions there are, and how many locks they hold, as far as this node knows.
    pub fn sessions_and_locks(&self) -> (u64, u64) {
        let count = |cache: &Cache| (cache.client_sessions().len() as u64, cache.locks().len() as u64);
        self.node.inner.consensus.replica().with_cache(count)
    }

    /// Adds a new node as a learner.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn add_member(&self, request: AddMember) -> Result<Joined, SessionError> {
        let request = match request.replace_silent_ms {
            None => AdminRequest::Add(request.into()),
            Some(silent_ms) => AdminRequest::AddInPlace { node: request.into(), silent_ms },
        };
        match self.by_leader(request).await? {
            AdminDone::Joined(joined) => Ok(joined),
            AdminDone::Changed | AdminDone::Members(_) | AdminDone::FeatureLevel(_) => {
                Err(self.misunderstood())
            }
        }
    }

    /// Gives a learner a vote.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn promote_member(&self, id: NodeId) -> Result<(), SessionError> {
        self.by_leader(AdminRequest::Promote { id }).await.map(drop)
    }

    /// Removes a member; a leader hands leadership over first.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn remove_member(&self, id: NodeId) -> Result<(), SessionError> {
        self.by_leader(AdminRequest::Remove { id }).await.map(drop)
    }

    /// Removes a member whose data folder is lost, so that a node with an empty folder can take its name and its addresses.
    ///
    /// # Errors
    /// [`SessionError`]; a conflict if the leader has heard from it lately, or no majority of the others answers.
    pub async fn replace_member(&self, id: NodeId) -> Result<(), SessionError> {
        self.by_leader(AdminRequest::Replace { id }).await.map(drop)
    }

    /// Transfers leadership; to the most up-to-date voter if `to` is `None`.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn transfer_leader(&self, to: Option<NodeId>) -> Result<(), SessionError> {
        self.by_leader(AdminRequest::Transfer { to }).await.map(drop)
    }

    /// Raises the cluster's feature level to the newest one that all members know. Returns the level.
    ///
    /// # Errors
    /// [`SessionError`]; a conflict when a member does not answer: nothing was done. Otherwise as any write.
    pub async fn finish_upgrade(&self) -> Result<FeatureLevel, SessionError> {
        match self.by_leader(AdminRequest::RaiseFeatureLevel).await? {
            AdminDone::FeatureLevel(level) => Ok(level),
            AdminDone::Joined(_) | AdminDone::Changed | AdminDone::Members(_) => Err(self.misunderstood()),
        }
    }

    async fn by_leader(&self, request: AdminRequest) -> Result<AdminDone, SessionError> {
        self.outcome(self.node.inner.admin(&self.principal, request).await)
    }

    fn misunderstood(&self) -> SessionError {
        let error = NodeError::OutcomeUnknown("the leader answered another question".into());
        SessionError::new(&self.node, error)
    }

    /// Writes a snapshot of the state at the applied index, and returns it.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn snapshot(&self) -> Result<SnapshotFile, SessionError> {
        self.outcome(self.node.snapshot().await)
    }

    /// The switch that cuts this node off from its peers, for tests.
    pub fn links(&self) -> &Links {
        self.node.links()
    }

    /// Makes this node's state differ from the others', for tests.
    pub fn corrupt(&self) {
        self.node.corrupt();
    }

    fn outcome<T>(&self, result: Result<T, NodeError>) -> Result<T, SessionError> {
        result.map_err(|error| SessionError::new(&self.node, error))
    }
}
