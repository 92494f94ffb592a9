//! What a node can be asked to do: the public interface.

use super::access::Principal;
use super::admin_session::Admin;
use super::error::{NodeError, StartError};
use super::memory::{self, MemoryPart};
use super::options::{Limits, NodeOptions};
use super::read::ReadAt;
use super::start::{Node, Opened};
use super::write::{Asked, WriteRequest, Written};
use crate::api::{CacheReport, Consistency, Digests, Leader, LineageReport, Members, NodeName, Status};
use crate::cache::{Found, Key};
use crate::lineage::Lineage;
use crate::peer::{Links, NodeId};
use crate::raft::{Consensus, offload};
use crate::replica::ApplyStats;
use crate::storage::FlushStats;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// How long a leader that stops tries to hand leadership over.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(3);

impl Node {
    /// Opens the data folder, establishes this node's identity in its cluster, and starts it.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(options: NodeOptions) -> Result<Self, StartError> {
        Opened::open(options).await?.start().await
    }

    /// Writes through the log, wherever the leader is.
    ///
    /// # Errors
    /// [`NodeError`]; its [`NodeError::effect`] says whether it may have happened.
    pub async fn write(&self, request: impl Into<WriteRequest>) -> Result<Written, NodeError> {
        self.inner.write(request.into(), &Asked::by_program()).await
    }

    /// Reads a key; that counts as a use of it.
    ///
    /// # Errors
    /// [`NodeError`]; an older value is never returned instead.
    pub async fn get(&self, key: &Key, consistency: Consistency) -> Result<ReadAt<Option<Found>>, NodeError> {
        let ReadAt { value, index, term, now_ms } =
            self.inner.get_seen(key, &Principal::Program, consistency, None, None).await?;
        Ok(ReadAt { value: value.ok().map(|seen| seen.found), index, term, now_ms })
    }

    /// The operator's requests, by the program itself.
    pub fn admin(&self) -> Admin {
        self.session(Principal::Program).admin()
    }

    pub async fn status(&self) -> Status {
        self.inner.status().await
    }

    /// This node's report on the cache.
    pub async fn cache_report(&self) -> CacheReport {
        let shadow = self.inner.leader_report().await.shadow;
        self.inner.consensus.replica().with_cache(|cache| self.inner.cache_report(cache, shadow))
    }

    pub async fn members(&self) -> Members {
        self.inner.members().await
    }

    pub fn leader(&self) -> Option<Leader> {
        self.inner.leader()
    }

    pub fn digests(&self) -> Digests {
        self.inner.digests()
    }

    /// Whether clients should be sent here.
    ///
    /// # Errors
    /// [`NodeError`] says what is missing.
    pub async fn ready(&self) -> Result<(), NodeError> {
        self.inner.ready().await
    }

    pub fn id(&self) -> NodeId {
        self.inner.identity.node_id
    }

    pub fn name(&self) -> &str {
        &self.inner.identity.name
    }

    /// A member's name; `node` and its number if it has left, or is not known here yet.
    pub fn member_name(&self, id: NodeId) -> String {
        let members = self.inner.consensus.status().members;
        let member = members.into_iter().find(|member| member.id == id);
        member.map_or_else(|| format!("node {id}"), |member| member.member.name)
    }

    /// The cluster and its histories. Indexes of different histories cannot be compared.
    pub fn lineage(&self) -> &Lineage {
        &self.inner.identity.lineage
    }

    /// Where this node's log comes from.
    pub fn lineage_report(&self) -> LineageReport {
        let replica = self.inner.consensus.replica();
        let terms = replica.terms();
        LineageReport {
            node: Some(NodeName { id: self.id(), name: self.name().to_owned() }),
            lineage: self.lineage().clone(),
            applied_index: replica.applied_index(),
            last_log_index: self.inner.consensus.status().last_log_index,
            term_starts: terms.iter().collect(),
        }
    }

    pub fn limits(&self) -> &Limits {
        &self.inner.options.limits
    }

    /// The number and times of the log's flushes.
    pub fn flushes(&self) -> FlushStats {
        self.inner.store.fsync_stats()
    }

    /// A typical round trip between this node and a majority, and the election timeout that follows from it.
    pub fn round_trip(&self) -> (Duration, Duration) {
        let timing = self.inner.consensus.timing();
        (timing.round_trip(), timing.election_timeout())
    }

    /// How long log entries took to apply.
    pub fn apply_stats(&self) -> ApplyStats {
        self.inner.consensus.replica().apply_stats()
    }

    /// The memory that this node takes, by what holds it.
    pub fn memory(&self) -> Vec<MemoryPart> {
        memory::parts(&self.inner)
    }

    /// About how many bytes the log's entries have.
    pub fn log_bytes(&self) -> u64 {
        self.inner.store.log_bytes()
    }

    /// Raft's term, as this node knows it.
    pub fn term(&self) -> u64 {
        self.inner.consensus.term()
    }

    /// The index at which this node was found to differ from the others. The node is out of service then.
    pub fn differs_at(&self) -> Option<u64> {
        self.inner.audit.differs_at()
    }

    /// Makes this node differ from the others, to test the audit.
    #[doc(hidden)]
    pub fn corrupt(&self) {
        self.inner.consensus.replica().corrupt();
    }

    /// Raft on this node, for tests that look inside.
    #[doc(hidden)]
    pub fn consensus(&self) -> &Consensus {
        &self.inner.consensus
    }

    /// Ends this node's part in its history, if a member says that it goes on in a recovered one without this node.
    ///
    /// # Errors
    /// [`NodeError`]: nobody says so, or it cannot be written down.
    pub async fn fence(&self) -> Result<(), NodeError> {
        self.inner.fence().await
    }

    /// Returns once this node has to be stopped and opened again on the same folder, because it goes on with another log: it
    /// has left its cluster, or comes back to it.
    pub async fn reopens(&self) {
        self.inner.departure.reopens().await;
    }

    /// The switch that cuts this node off from its peers.
    pub fn links(&self) -> &Links {
        &self.inner.links
    }

    /// Returns once the node has failed, with the reason.
    pub async fn failed(&self) -> String {
        self.inner.consensus.stopped().await
    }

    /// Stops accepting writes from clients, and hands leadership over if this node leads.
    pub async fn drain(&self) {
        if self.inner.draining.swap(true, Ordering::AcqRel) {
            return;
        }
        self.inner.drains.notify_waiters();
        let others = self.inner.consensus.status().members.iter().any(|m| m.voter && m.id != self.id());
        if others && self.inner.consensus.is_leader() {
            let deadline = Instant::now() + TRANSFER_TIMEOUT;
            let handing_over = self.inner.transfer(None, deadline);
            if let Ok(Err(error)) = tokio::time::timeout_at(deadline, handing_over).await {
                tracing::info!(?error, "stopping without handing over");
            }
        }
    }

    /// Drains, stops Raft and the peer server, and closes the data folder. The node stays a member.
    pub async fn stop(&self) {
        self.drain().await;
        self.inner.departure.interrupt();
        if !self.inner.links.is_cut() {
            self.inner.end_forwarding().await;
        }
        let running = self.inner.running.lock().expect("no panic while held").take();
        drop(running);
        self.inner.consensus.shutdown().await;
        let store = self.inner.store.clone();
        let _ = offload(move || store.close()).await;
    }
}
