//! The replicated log as the rooms above see it: propose, find the read index, change the membership, look
//! around. The only place that matches on openraft's errors.

use super::config::config;
use super::inbound::Inbound;
use super::log::Log;
use super::machine::Machine;
use super::network::Networks;
use super::proposals::{Backlog, Proposals};
use super::types::Types;
use crate::peer::{Links, Net, NodeId, PeerIdentity};
use crate::replica::{ChangeLog, LogClock, Member, Proposal, Replica, Response};
use crate::storage::{LogStore, Snapshots};
use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{
    ClientWriteError, Fatal, ForwardReason, InitializeError, LinearizableReadError, RaftError,
};
use openraft::{ChangeMembers, Instant, Raft, RaftMetrics, ReadPolicy, ServerState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What steers elections and snapshots on this node.
///
/// A follower that hears nothing stands for election after the leader's lease (`election_max_ms`) and a
/// random time between `election_min_ms` and `election_max_ms` more: 450 to 600 ms by default.
#[derive(Debug, Clone)]
pub struct Timing {
    pub heartbeat_ms: u64,
    pub election_min_ms: u64,
    pub election_max_ms: u64,
    /// Entries between two snapshots.
    pub snapshot_entries: u64,
    /// Entries kept in the log behind the snapshot, so that a node a little behind needs no snapshot.
    pub entries_kept: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat_ms: 75,
            election_min_ms: 150,
            election_max_ms: 300,
            snapshot_entries: 100_000,
            entries_kept: 20_000,
        }
    }
}

/// A proposal that was not answered by `apply`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was proposed: this node does not lead.
    #[error("this node does not lead the cluster")]
    NotLeader { leader: Option<NodeId> },
    /// Nothing was proposed: this node leads as far as it knows, but no majority has answered it for as long as a lease
    /// lasts. That passes by itself where followers are busy, say with large entries.
    #[error("no majority of the nodes has answered the leader lately")]
    NoLease,
    /// Nothing was proposed: this leader does not know the log time yet.
    #[error("the leader does not know the log time yet")]
    NoTime,
    /// Nothing was proposed: too much waits already.
    #[error("too many writes wait on the leader")]
    Busy,
    /// Proposed, then this node lost the lead: it may be committed or not.
    #[error("the leader changed before the outcome was known")]
    Unknown,
    /// The node has stopped; what was proposed may be committed or not.
    #[error("the node has stopped: {0}")]
    Stopped(String),
}

/// No read index was found; nothing was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadIndexError {
    #[error("this node does not lead the cluster")]
    NotLeader { leader: Option<NodeId> },
    #[error("no majority of the nodes answers")]
    NoQuorum,
    #[error("the node has stopped: {0}")]
    Stopped(String),
}

/// A membership change that did not happen (or, for `Unknown`, may have).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    #[error("this node does not lead the cluster")]
    NotLeader { leader: Option<NodeId> },
    #[error("another membership change is under way")]
    InProgress,
    #[error("{0}")]
    Refused(String),
    #[error("the leader changed before the outcome was known")]
    Unknown,
    #[error("the node has stopped: {0}")]
    Stopped(String),
}

/// A command's way through the log: where it landed, and what `apply` said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    pub index: u64,
    pub term: u64,
    pub response: Response,
}

/// What this node is in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Leader,
    Follower,
    Learner,
    Candidate,
}

/// A node of the cluster, as seen from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberState {
    pub id: NodeId,
    pub member: Member,
    pub voter: bool,
    /// On the leader: the last index known to be stored there.
    pub matched: Option<u64>,
    /// On the leader: milliseconds since it last answered.
    pub silent_ms: Option<u64>,
}

/// Raft's numbers at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    pub role: Role,
    pub leader: Option<NodeId>,
    pub term: u64,
    pub last_log_index: u64,
    pub committed_index: u64,
    pub snapshot_index: u64,
    pub purged_index: u64,
    /// True while old and new voters decide together.
    pub joint: bool,
    pub members: Vec<MemberState>,
    /// Why the node has stopped, if it has.
    pub stopped: Option<String>,
}

/// What a node's part in the replicated log stands on.
pub struct Ground {
    pub log: LogStore,
    pub snapshots: Snapshots,
    /// Goes into every snapshot.
    pub lineage: Bytes,
    pub net: Net,
    pub links: Links,
    /// Is told of all that is applied.
    pub change_log: Arc<ChangeLog>,
    /// The newest feature level that this node knows.
    pub feature_level: u32,
}

/// This node's part in the replicated log. Cheap to clone.
#[derive(Clone)]
pub struct Consensus {
    raft: Raft<Types, Machine>,
    replica: Arc<Replica>,
    clock: Arc<LogClock>,
    networks: Networks,
    inbound: Inbound,
    proposals: Proposals,
}

impl Consensus {
    /// Starts this node's part: restores the snapshot, applies what was committed, and takes part.
    ///
    /// # Errors
    /// A sentence: the settings are wrong, or log or snapshot can't be read.
    pub async fn start(me: PeerIdentity, timing: &Timing, ground: Ground) -> Result<Self, String> {
        let Ground { log, snapshots, lineage, net, links, change_log, feature_level } = ground;
        // A log that was purged relies on its snapshot: without it, part of the state is gone.
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
        let config = Arc::new(config(&me, timing).validate().map_err(|error| error.to_string())?);
        let backlog = Backlog::default();
        let networks = Networks::new(me, net, links, backlog.clone());
        let raft = Raft::new(node_id, config, networks.clone(), Log::new(log), machine).await;
        let raft = raft.map_err(|error| error.to_string())?;
        let inbound = Inbound::new(raft.clone(), snapshots);
        let proposals = Proposals::start(raft.clone(), clock.clone(), backlog);
        Ok(Self { raft, replica, clock, networks, inbound, proposals })
    }

    pub fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    pub fn clock(&self) -> &Arc<LogClock> {
        &self.clock
    }

    /// Whether the newest membership that this node knows has a node.
    pub fn has_member(&self, id: NodeId) -> bool {
        self.raft.metrics().borrow_watched().membership_config.membership().get_node(&id).is_some()
    }

    pub fn networks(&self) -> &Networks {
        &self.networks
    }

    pub fn inbound(&self) -> &Inbound {
        &self.inbound
    }

    /// Gives a new cluster its first members. Does nothing when this node has a log already.
    ///
    /// # Errors
    /// A sentence.
    pub async fn initialize(&self, members: BTreeMap<NodeId, Member>) -> Result<(), String> {
        match self.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Proposes a command, stamps it with log time, and waits until it is applied here. `by` is the node whose client
    /// asked for it, or 0.
    ///
    /// # Errors
    /// [`ProposeError`] says whether it may still be committed.
    pub async fn propose(&self, by: u64, body: Bytes, touches: Bytes) -> Result<Proposed, ProposeError> {
        if !self.raft.is_leader() {
            return Err(ProposeError::NotLeader { leader: self.leader() });
        }
        let at_ms = self.clock.now_ms().ok_or(ProposeError::NoTime)?;
        let answer =
            self.proposals.propose(Proposal { at_ms, by, touches, body }).ok_or(ProposeError::Busy)?;
        match answer.await {
            Ok(Ok(done)) => {
                let term = done.log_id.committed_leader_id().term;
                Ok(Proposed { index: done.log_id.index(), term, response: done.data })
            }
            Ok(Err(error)) => Err(propose_error(error)),
            Err(_) => {
                let reason = self.view().stopped.unwrap_or_else(|| "it is stopping".into());
                Err(ProposeError::Stopped(reason))
            }
        }
    }

    /// The index that a linearizable read must have seen applied. Concurrent callers share one round of
    /// asking the other nodes whether this one still leads; with `lease`, the round is left out as long as
    /// the leader's lease runs, which trusts that clocks tick at about the same speed.
    ///
    /// # Errors
    /// [`ReadIndexError`]; nothing was read.
    pub async fn read_index(&self, lease: bool) -> Result<u64, ReadIndexError> {
        let policy = if lease { ReadPolicy::LeaseRead } else { ReadPolicy::ReadIndex };
        match self.raft.get_read_linearizer(policy).await {
            Ok(linearizer) => Ok(linearizer.read_log_id().log_id().index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => {
                Err(ReadIndexError::NotLeader { leader: to.leader_id })
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(ReadIndexError::NoQuorum)
            }
            Err(RaftError::Fatal(error)) => Err(ReadIndexError::Stopped(error.to_string())),
        }
    }

    /// Adds a node that receives the log and has no vote.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub async fn add_learner(&self, id: NodeId, member: Member) -> Result<u64, MembershipError> {
        self.change(ChangeMembers::AddNodes(BTreeMap::from([(id, member)])), true).await
    }

    /// Changes what the membership says of a node that is in it. Not where its peers reach it.
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

    /// Takes a node out of the cluster, vote and all.
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

    /// Ends a change that stopped half way, where old and new voters decide together.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub async fn finish_change(&self) -> Result<u64, MembershipError> {
        self.change(ChangeMembers::AddVoterIds(BTreeSet::new()), false).await
    }

    /// Whether a change that is half way takes this node's vote.
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

    /// Asks the leader, if it is this node, to hand over; returns at once.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn transfer_leader(&self, to: NodeId) -> Result<(), String> {
        self.raft.trigger().transfer_leader(to).await.map_err(|error| error.to_string())
    }

    /// Asks for a snapshot; returns at once.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn snapshot(&self) -> Result<(), String> {
        self.raft.trigger().snapshot().await.map_err(|error| error.to_string())
    }

    /// Lets go of log entries up to `index`, as far as a snapshot covers them; returns at once.
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

    pub fn leader(&self) -> Option<NodeId> {
        self.raft.metrics().borrow_watched().current_leader
    }

    /// What the membership says of a node.
    pub fn member(&self, id: NodeId) -> Option<Member> {
        self.raft.metrics().borrow_watched().membership_config.get_node(&id).cloned()
    }

    pub fn view(&self) -> View {
        view(&self.raft.metrics().borrow_watched())
    }

    /// Waits until the view satisfies a condition; false when `limit` passed first or the node stopped.
    pub async fn wait(&self, limit: Duration, what: impl Fn(&View) -> bool + Send) -> bool {
        let mut metrics = self.raft.metrics();
        let watching = async {
            loop {
                let now = view(&metrics.borrow_watched());
                if what(&now) {
                    return true;
                }
                if now.stopped.is_some() || metrics.changed().await.is_err() {
                    return false;
                }
            }
        };
        tokio::time::timeout(limit, watching).await.unwrap_or(false)
    }

    /// Returns once the node's part has ended, with the reason.
    pub async fn stopped(&self) -> String {
        // These change with elections and members. The whole metrics change several times with every write, and
        // whoever waits for them is woken each time. The channel closes when the part has ended.
        let mut rare = self.raft.server_metrics();
        while rare.changed().await.is_ok() {}
        self.view().stopped.unwrap_or_else(|| "the raft task has ended".into())
    }

    /// Ends this node's part.
    pub async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft did not stop cleanly");
        }
    }
}

fn propose_error(error: ClientWriteError<Types>) -> ProposeError {
    match error {
        ClientWriteError::ForwardToLeader(to) if matches!(to.reason, ForwardReason::LeaseExpired) => {
            ProposeError::NoLease
        }
        ClientWriteError::ForwardToLeader(to) => ProposeError::NotLeader { leader: to.leader_id },
        ClientWriteError::LogEntryDiscarded(_) => ProposeError::Unknown,
        // Neither is given for a plain write.
        ClientWriteError::ChangeMembershipError(error) => ProposeError::Stopped(error.to_string()),
        ClientWriteError::PreconditionFailed(error) => ProposeError::Stopped(error.to_string()),
    }
}

fn membership_error(error: ClientWriteError<Types>) -> MembershipError {
    use openraft::errors::ChangeMembershipError::{
        EmptyMembership, InProgress, LearnerNotFound, NodeMetadataChanged, UncommittedLeaderLog,
        UnsupportedMembershipTransition,
    };
    match error {
        ClientWriteError::ForwardToLeader(to) => MembershipError::NotLeader { leader: to.leader_id },
        ClientWriteError::LogEntryDiscarded(_) => MembershipError::Unknown,
        ClientWriteError::ChangeMembershipError(InProgress(_) | UncommittedLeaderLog(_)) => {
            MembershipError::InProgress
        }
        ClientWriteError::ChangeMembershipError(
            error @ (EmptyMembership(_)
            | LearnerNotFound(_)
            | NodeMetadataChanged(_)
            | UnsupportedMembershipTransition(_)),
        ) => MembershipError::Refused(error.to_string()),
        // Somebody else took the second step of this change.
        ClientWriteError::PreconditionFailed(_) => MembershipError::Unknown,
    }
}

fn view(metrics: &RaftMetrics<Types>) -> View {
    let index = |log_id: Option<super::types::LogId>| log_id.map_or(0, |log_id| log_id.index());
    let membership = metrics.membership_config.membership();
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let members = membership.nodes().map(|(&id, member)| MemberState {
        id,
        member: member.clone(),
        voter: voters.contains(&id),
        matched: metrics
            .replication
            .as_ref()
            .and_then(|all| all.get(&id).copied().flatten())
            .map(|matched| matched.index()),
        silent_ms: metrics
            .heartbeat
            .as_ref()
            .and_then(|all| all.get(&id))
            .copied()
            .flatten()
            .map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)),
    });
    View {
        role: match metrics.state {
            ServerState::Leader => Role::Leader,
            ServerState::Follower => Role::Follower,
            ServerState::Candidate => Role::Candidate,
            ServerState::Learner | ServerState::Shutdown => Role::Learner,
        },
        leader: metrics.current_leader,
        term: metrics.current_term,
        last_log_index: metrics.last_log_index.unwrap_or(0),
        committed_index: index(metrics.local_committed),
        snapshot_index: index(metrics.snapshot),
        purged_index: index(metrics.purged),
        joint: membership.get_joint_config().len() > 1,
        members: members.collect(),
        stopped: metrics.running_state.as_ref().err().map(stop_reason),
    }
}

fn stop_reason(fatal: &Fatal<Types>) -> String {
    fatal.to_string()
}
