//! The interface of Raft for the rooms above: propose, find the read index, change the membership, read the status. No
//! other file but `error.rs` matches on openraft's errors.

use super::config::{RaftOptions, config};
use super::contact::Contact;
use super::error::{MembershipError, ProposeError, membership_error, propose_error};
use super::handover::{self, Attempted, Handover};
use super::inbound::Inbound;
use super::leadership::{Candidacy, Leadership, leads};
use super::lease::Lease;
use super::log::Log;
use super::machine::Machine;
use super::network::Networks;
use super::proposal::{Deadlines, Proposed};
use super::proposal_batcher::{PendingProposals, ProposalBatcher};
use super::status::{RaftStatus, status};
use super::timing::Timing;
use super::types::{Types, Vote};
use super::voted::Voted;
use super::wire::WireVote;
use crate::lineage::Lineage;
use crate::peer::{Lane, Links, Net, NodeId, PeerClient, PeerIdentity};
use crate::replica::{ChangeLog, LogClock, Member, Proposal, Replica};
use crate::storage::{LogStore, Snapshots};
use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{InitializeError, RaftError};
use openraft::raft::VoteRequest;
use openraft::{ChangeMembers, Raft, ServerState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// The pause before proposing again while the leader has no lease.
const LEASE_PAUSE: Duration = Duration::from_millis(20);

/// What Raft on this node needs: storage, network and the change log.
pub struct Resources {
    pub log: LogStore,
    pub snapshots: Snapshots,
    /// The cluster and its histories; every snapshot contains them.
    pub lineage: Arc<Lineage>,
    pub net: Net,
    pub links: Links,
    /// Gets the changes of every applied entry.
    pub change_log: Arc<ChangeLog>,
    /// The newest feature level that this node knows.
    pub feature_level: u32,
}

/// Raft on this node. Cheap to clone.
#[derive(Clone)]
pub struct Consensus {
    raft: Raft<Types, Machine>,
    replica: Arc<Replica>,
    clock: Arc<LogClock>,
    networks: Networks,
    inbound: Inbound,
    batcher: ProposalBatcher,
    voted: Voted,
    timing: Timing,
    contact: Contact,
    lease: Arc<Lease>,
    handover: Handover,
    /// What [`Self::check_majority`] found last.
    lost_majority: Arc<AtomicBool>,
}

impl Consensus {
    /// Restores the snapshot, applies the committed entries, and joins the cluster's elections and replication.
    ///
    /// # Errors
    /// A sentence: the options are wrong, or the log or the snapshot can't be read.
    pub async fn start(
        me: PeerIdentity,
        options: &RaftOptions,
        resources: Resources,
    ) -> Result<Self, String> {
        let Resources { log, snapshots, lineage, net, links, change_log, feature_level } = resources;
        // A purged log needs its snapshot: without it, part of the state is lost.
        let purged = log.state().purged.map_or(0, |(index, _)| index);
        let covered = snapshots.current().map_or(0, |snapshot| snapshot.index);
        if purged > covered {
            return Err(format!(
                "the log begins after index {purged}, but the snapshot covers only {covered}: the data folder is \
                 damaged; remove it and join the cluster again under a new node id"
            ));
        }
        let clock = Arc::new(LogClock::default());
        let replica = Arc::new(Replica::new(clock.clone(), change_log, feature_level));
        let machine = Machine::new(replica.clone(), snapshots.clone(), lineage);
        let node_id = me.node_id;
        let config = Arc::new(config(&me, options).validate().map_err(|error| error.to_string())?);
        let pending = PendingProposals::default();
        let networks = Networks::new(me, net, links, pending.clone());
        let log = Log::new(log);
        let voted = log.voted().clone();
        let raft = Raft::new(node_id, config, networks.clone(), log, machine).await;
        let raft = raft.map_err(|error| error.to_string())?;
        let timing = Timing::new(options, networks.round_trips().clone());
        let contact = Contact::new(timing.clone(), voted.clone());
        let inbound = Inbound::new(raft.clone(), snapshots, contact.clone());
        let round_trips = networks.round_trips().clone();
        let (lease, handover, lost_majority) = (Arc::default(), Handover::default(), Arc::default());
        let batcher =
            ProposalBatcher::start(raft.clone(), clock.clone(), pending, round_trips, handover.clone());
        Ok(Self {
            raft,
            replica,
            clock,
            networks,
            inbound,
            batcher,
            voted,
            timing,
            contact,
            lease,
            handover,
            lost_majority,
        })
    }

    /// About how many bytes of memory the proposals take that Raft does not have yet.
    pub fn pending_bytes(&self) -> u64 {
        self.batcher.pending_bytes()
    }

    pub fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    pub fn clock(&self) -> &Arc<LogClock> {
        &self.clock
    }

    /// Whether the newest membership that this node knows, committed or not, contains a node.
    pub fn has_member(&self, id: NodeId) -> bool {
        self.raft.metrics().borrow_watched().membership_config.membership().get_node(&id).is_some()
    }

    /// The connection to a member; `None` if the membership does not contain it.
    pub fn peer(&self, id: NodeId, lane: Lane) -> Option<PeerClient> {
        Some(self.networks.shared(id, &self.member(id)?, lane))
    }

    /// Forgets the connections to nodes that are no longer members.
    pub fn forget_removed_nodes(&self) {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        self.networks.retain(|id| membership.get_node(&id).is_some());
    }

    pub fn inbound(&self) -> &Inbound {
        &self.inbound
    }

    /// Gives a new cluster its first members. Does nothing if this node has a log already.
    ///
    /// # Errors
    /// A sentence.
    pub async fn initialize(&self, members: BTreeMap<NodeId, Member>) -> Result<(), String> {
        match self.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Stamps a command with log time, proposes it, and waits until it is applied here. `by` is the node whose client
    /// requested it, or 0. A leader without a lease, or that hands its leadership over, holds the command until that
    /// changes, but no longer than until the deadline for proposing.
    ///
    /// # Errors
    /// [`ProposeError`] says whether it may still be committed.
    pub async fn propose(
        &self,
        by: u64,
        body: Bytes,
        touches: Bytes,
        deadlines: Deadlines,
    ) -> Result<Proposed, ProposeError> {
        loop {
            let attempt = self.try_propose(by, body.clone(), touches.clone());
            let Ok(result) = timeout_at(deadlines.answer, attempt).await else {
                return Err(ProposeError::Unknown("no majority confirmed the write in time".into()));
            };
            if let Some(done) = result? {
                return Ok(done);
            }
            // The leader waits here. If a node that forwarded the write retried instead, it would send the body each
            // time.
            if Instant::now() + LEASE_PAUSE >= deadlines.propose {
                let reason = if self.handover.is_under_way() {
                    "the leader hands its leadership over"
                } else {
                    "no majority of the nodes has answered the leader lately"
                };
                return Err(ProposeError::NotProposed(reason.into()));
            }
            sleep(LEASE_PAUSE).await;
        }
    }

    /// One attempt; `None` if nothing was proposed because this leader has no lease, or hands its leadership over.
    async fn try_propose(
        &self,
        by: u64,
        body: Bytes,
        touches: Bytes,
    ) -> Result<Option<Proposed>, ProposeError> {
        if !self.raft.is_leader() {
            return Err(ProposeError::not_leader());
        }
        let no_time = || ProposeError::NotProposed("the leader does not know the log time yet".into());
        let at_ms = self.clock.now_ms().ok_or_else(no_time)?;
        if self.lost_majority.load(Relaxed) || self.handover.is_under_way() {
            return Ok(None);
        }
        let result = self.batcher.propose(Proposal { at_ms, by, touches, body }).ok_or(ProposeError::Busy)?;
        match result.await {
            Ok(Ok(done)) => {
                let term = done.log_id.committed_leader_id().term;
                Ok(Some(Proposed { index: done.log_id.index(), term, response: done.data }))
            }
            Ok(Err(error)) => propose_error(error).map_or(Ok(None), Err),
            Err(_) => {
                let reason = self.status().stopped.unwrap_or_else(|| "it is stopping".into());
                Err(ProposeError::Stopped(reason))
            }
        }
    }

    /// This node's leadership, as far as it knows: another leader may have been elected meanwhile. `None` if it does not
    /// lead.
    pub fn leadership(&self) -> Option<Leadership> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        leads(&metrics).then(|| Leadership {
            vote: WireVote { term: metrics.current_term, node: metrics.id, committed: true },
            voters: metrics.membership_config.membership().get_joint_config().clone(),
            last_log_index: metrics.last_log_index.unwrap_or(0),
        })
    }

    /// Looks whether this node leads, and a majority has not supported it for so long that it may have elected another
    /// leader: it then proposes nothing. Writes go by the last look, because each of them would have to take one.
    pub fn check_majority(&self) {
        let patience = self.timing.election_timeout() + self.timing.heartbeat() + self.timing.round_trip();
        let lost = self.leadership().is_some_and(|leadership| {
            self.lease.has_answers(leadership.vote.term)
                && !self.lease.is_supported_within(&leadership, patience)
        });
        self.lost_majority.store(lost, Relaxed);
    }

    /// This node's newest vote.
    pub fn vote(&self) -> Option<WireVote> {
        self.voted.get()
    }

    /// The highest committed index that another node may know from this one.
    pub fn told_commit(&self) -> u64 {
        self.networks.told_commit()
    }

    /// A typical round trip to a node; to a majority, if that node has not answered yet.
    pub fn round_trip_to(&self, node: NodeId) -> Duration {
        self.networks.round_trips().median(node).unwrap_or_else(|| self.timing.round_trip())
    }

    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// This node's contact with its leader.
    pub fn contact(&self) -> &Contact {
        &self.contact
    }

    /// The support that this node has as a leader.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// This node as a candidate, if it is a voter and does not lead.
    pub fn candidacy(&self) -> Option<Candidacy> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let is_voter = membership.voter_ids().any(|voter| voter == metrics.id);
        let may_be_elected =
            is_voter && metrics.state != ServerState::Leader && metrics.running_state.is_ok();
        let vote = Vote::new(metrics.current_term + 1, metrics.id);
        let last_log_id = self.raft.data_metrics().borrow_watched().last_log;
        let request = VoteRequest { vote, last_log_id, leadership_transfer: false };
        may_be_elected
            .then(|| Candidacy { request: request.into(), voters: membership.get_joint_config().clone() })
    }

    /// Asks the other voters to elect this node, unless it has heard from a leader meanwhile. Returns once it has voted
    /// for itself.
    pub async fn elect(&self) {
        let raft = self.raft.clone();
        let elected = self.contact.vote(false, async move {
            raft.trigger().elect(false).await?;
            // Requests are carried out in order: afterwards this node has voted.
            raft.with_raft_state(|_| ()).await
        });
        if let Some(Err(error)) = elected.await {
            tracing::debug!(%error, "no election");
        }
    }

    /// Sends openraft's own heartbeats: they carry the committed index, and tell it which nodes answer.
    pub async fn send_heartbeat(&self) {
        if let Err(error) = self.raft.trigger().heartbeat().await {
            tracing::debug!(%error, "no heartbeat");
        }
    }

    /// Adds a node that receives the log and has no vote.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub async fn add_learner(&self, id: NodeId, member: Member) -> Result<u64, MembershipError> {
        self.change(ChangeMembers::AddNodes(BTreeMap::from([(id, member)])), true).await
    }

    /// Changes a member's record in the membership. Its peer address must stay the same.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub async fn update_member(&self, id: NodeId, member: Member) -> Result<u64, MembershipError> {
        self.change(ChangeMembers::SetNodes(BTreeMap::from([(id, member)])), true).await
    }

    /// Gives a learner a vote, through a joint membership.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub async fn promote(&self, id: NodeId) -> Result<u64, MembershipError> {
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([id])), true).await
    }

    /// Removes a node from the cluster, and its vote with it.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub async fn remove(&self, id: NodeId, voter: bool) -> Result<u64, MembershipError> {
        let ids = BTreeSet::from([id]);
        if voter {
            self.change(ChangeMembers::RemoveVoters(ids), false).await
        } else {
            self.change(ChangeMembers::RemoveNodes(ids), false).await
        }
    }

    /// Completes a membership change that stopped at the joint membership.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub async fn finish_change(&self) -> Result<u64, MembershipError> {
        self.change(ChangeMembers::AddVoterIds(BTreeSet::new()), false).await
    }

    /// Whether a joint membership is about to remove this node's vote.
    pub fn is_losing_vote(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let configs = metrics.membership_config.membership().get_joint_config();
        configs.len() > 1 && configs.last().is_some_and(|next| !next.contains(&metrics.id))
    }

    async fn change(&self, change: ChangeMembers<u64, Member>, retain: bool) -> Result<u64, MembershipError> {
        match self.raft.change_membership(change, retain).await {
            Ok(done) => Ok(done.log_id.index()),
            Err(RaftError::APIError(error)) => Err(membership_error(error)),
            Err(RaftError::Fatal(error)) => Err(MembershipError::Stopped(error.to_string())),
        }
    }

    /// Hands leadership over to a member, if this node leads. Unless it is urgent, an attempt that failed ends after this node has
    /// proposed again for an election timeout. The member is asked by `latest`, or not at all.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn transfer_leader(
        &self,
        to: NodeId,
        member: &Member,
        is_urgent: bool,
        latest: Instant,
    ) -> Result<Attempted, String> {
        let Self { raft, networks, lease, timing, .. } = self;
        let leader = handover::Leader { raft, networks, lease, timing };
        self.handover.attempt(to, member, leader, is_urgent, latest).await
    }

    /// Starts a snapshot. Returns immediately.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn snapshot(&self) -> Result<(), String> {
        self.raft.trigger().snapshot().await.map_err(|error| error.to_string())
    }

    /// Starts to purge log entries up to `index`, as far as a snapshot covers them. Returns immediately.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn purge(&self, index: u64) -> Result<(), String> {
        self.raft.trigger().purge_log(index).await.map_err(|error| error.to_string())
    }

    pub fn term(&self) -> u64 {
        self.raft.metrics().borrow_watched().current_term
    }

    pub fn is_leader(&self) -> bool {
        self.raft.is_leader()
    }

    /// Returns once this node leads: then it has a [`leadership`](Self::leadership), unless it has lost it again.
    pub async fn until_leading(&self) {
        // These change only with elections and members, the full metrics several times with every write. But a Raft that has
        // stopped as a leader says here for ever that it leads.
        let (mut rare, mut full) = (self.raft.server_metrics(), self.raft.metrics());
        while rare.borrow_watched().state != ServerState::Leader {
            if rare.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        while !leads(&full.borrow_watched()) {
            if full.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    pub fn leader(&self) -> Option<NodeId> {
        self.raft.metrics().borrow_watched().current_leader
    }

    /// A member's record in the membership.
    pub fn member(&self, id: NodeId) -> Option<Member> {
        self.raft.metrics().borrow_watched().membership_config.get_node(&id).cloned()
    }

    /// Why Raft has stopped on this node, if it has.
    pub fn failure(&self) -> Option<String> {
        self.raft.metrics().borrow_watched().running_state.as_ref().err().map(ToString::to_string)
    }

    pub fn status(&self) -> RaftStatus {
        status(&self.raft.metrics().borrow_watched())
    }

    /// Waits until the status satisfies a condition. Returns false if `timeout` passes first or the node stops.
    pub async fn wait_for(&self, timeout: Duration, condition: impl Fn(&RaftStatus) -> bool + Send) -> bool {
        let mut metrics = self.raft.metrics();
        let watching = async {
            loop {
                let now = status(&metrics.borrow_watched());
                if condition(&now) {
                    return true;
                }
                if now.stopped.is_some() || metrics.changed().await.is_err() {
                    return false;
                }
            }
        };
        tokio::time::timeout(timeout, watching).await.unwrap_or(false)
    }

    /// Returns once Raft has stopped on this node, with the reason.
    pub async fn stopped(&self) -> String {
        // The server metrics change only with elections and members. The full metrics change several times with every
        // write and would wake this task each time. The channel closes when Raft has stopped.
        let mut rare = self.raft.server_metrics();
        while rare.changed().await.is_ok() {}
        self.status().stopped.unwrap_or_else(|| "the raft task has ended".into())
    }

    /// Stops Raft on this node.
    pub async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft did not stop cleanly");
        }
    }
}
