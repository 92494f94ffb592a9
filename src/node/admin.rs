//! Membership changes and leadership transfers. The leader carries them out; other nodes forward them.

use super::access::Principal;
use super::addresses::{check_name, check_url};
use super::bootstrap::FOUNDING_NODES_MAX;
use super::error::NodeError;
use super::inner::Inner;
use super::leadership::AskedVoters;
use super::newcomer::AddMemberMessage;
use super::own_reads::ReadsBefore;
use super::shadow::ShadowReport;
use crate::api::{Consistency, FeatureLevel, Joined};
use crate::cache::{Command, Need, Role};
use crate::peer::{Lane, Method, NodeId, PeerError};
use crate::raft::{Deadlines, MemberState, MembershipError, ProposeError, RaftStatus};
use crate::replica::{Envelope, Member, from_postcard, to_bytes};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::MutexGuard;
use tokio::time::Instant;

/// Timeout of a change: a joint membership needs two log entries.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(15);
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// How long before its deadline a request that has changed nothing yet gives up, so that it can still say so.
pub(super) const ANSWER_MARGIN: Duration = Duration::from_millis(200);
/// A learner can be promoted if it is at most this many entries behind.
const PROMOTION_LAG_MAX: u64 = 1_000;
/// A member that has been silent for longer counts as down when a removal is checked.
pub(super) const SILENT_MS_MAX: u64 = 3_000;

/// A request to the leader.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum AdminRequest {
    Add(AddMemberMessage),
    /// A member was started with another name or URL.
    Update {
        id: NodeId,
        name: String,
        http: String,
    },
    Promote {
        id: NodeId,
    },
    Remove {
        id: NodeId,
    },
    Transfer {
        to: Option<NodeId>,
    },
    Members,
    RaiseFeatureLevel,
    /// This member is about to leave, and to begin this history at this index: note what goes from now on.
    OpenFork {
        node: NodeId,
        history: String,
        start_index: u64,
    },
    /// It stays.
    CloseFork {
        history: String,
    },
    /// The member's data folder is lost: remove it, so that a node with an empty folder can take its name.
    Replace {
        id: NodeId,
    },
    /// The same for the member of the node's name, once it has been silent for so long; then add the node.
    AddInPlace {
        node: AddMemberMessage,
        silent_ms: u64,
    },
}

/// A request, and who asks: the leader judges that, too, because the node that was asked may know of no tokens yet. It is trusted to
/// say who it is, as it is with everything else.
type AdminMessage = (Principal, AdminRequest);

/// The leader's answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum AdminDone {
    Joined(Joined),
    Changed,
    /// What only the leader knows.
    Members(LeaderReport),
    FeatureLevel(FeatureLevel),
}

/// What only the leader knows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct LeaderReport {
    pub progress: Vec<Progress>,
    pub last_log_index: u64,
    /// The estimated hit ratios of other policies.
    pub shadow: Option<ShadowReport>,
}

/// The replication progress of a member, as the leader knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    pub id: NodeId,
    pub matched: Option<u64>,
    pub silent_ms: Option<u64>,
}

/// Why the leader did not carry out a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum AdminFailure {
    /// Nothing was done; another node leads, or soon will.
    NotLeader,
    /// Another node than the one that was named has taken leadership, and is asked next.
    OtherLeader,
    Unauthorized(String),
    Forbidden(String),
    Conflict(String),
    NotFound(String),
    /// The request is not valid.
    Invalid(String),
    Unknown(String),
    Stopped(String),
}

impl From<ProposeError> for AdminFailure {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NotProposed(_) | ProposeError::Busy | ProposeError::Refused(_) => Self::NotLeader,
            ProposeError::Unknown(reason) => Self::Unknown(reason),
            ProposeError::Stopped(reason) => Self::Stopped(reason),
        }
    }
}

impl From<MembershipError> for AdminFailure {
    fn from(error: MembershipError) -> Self {
        match error {
            // A change takes several steps, and the error does not say which of them was refused.
            MembershipError::NotLeader { .. } => Self::Unknown("the leader changed during the change".into()),
            MembershipError::InProgress | MembershipError::Refused(_) => Self::Conflict(error.to_string()),
            MembershipError::Unknown => Self::Unknown(error.to_string()),
            MembershipError::Stopped(reason) => Self::Stopped(reason),
        }
    }
}

impl Inner {
    /// Has the leader carry out a request, on this node or another, if it lets this principal.
    pub(super) async fn admin(
        &self,
        principal: &Principal,
        request: AdminRequest,
    ) -> Result<AdminDone, NodeError> {
        self.refuse_when_removed()?;
        self.refuse_when_superseded(Consistency::Linearizable)?;
        let deadline = Instant::now() + ADMIN_TIMEOUT;
        let message = (principal.clone(), request);
        // Whether a leader has begun with it, so that a later one cannot say that nothing was done.
        let mut has_begun = false;
        loop {
            let leader = self.wait_for_leader(deadline).await?;
            let result = if leader == self.identity.node_id {
                self.admin_here(message.clone(), deadline).await
            } else {
                self.admin_there(leader, &message, deadline).await
            };
            match result {
                Ok(done) => return Ok(done),
                Err(failure @ (AdminFailure::NotLeader | AdminFailure::OtherLeader)) => {
                    has_begun |= failure == AdminFailure::OtherLeader;
                    if Instant::now() + RETRY_PAUSE < deadline {
                        tokio::time::sleep(RETRY_PAUSE).await;
                        continue;
                    }
                    let reason = "the cluster has no leader that answers".to_owned();
                    return Err(match has_begun {
                        true => NodeError::OutcomeUnknown(reason),
                        false => NodeError::Unavailable(reason),
                    });
                }
                Err(AdminFailure::Conflict(reason)) if has_begun => {
                    return Err(NodeError::OutcomeUnknown(reason));
                }
                Err(AdminFailure::Unauthorized(reason)) => return Err(NodeError::Unauthorized(reason)),
                Err(AdminFailure::Forbidden(reason)) => return Err(NodeError::Forbidden(reason)),
                Err(AdminFailure::Conflict(reason)) => return Err(NodeError::Conflict(reason)),
                Err(AdminFailure::NotFound(reason)) => return Err(NodeError::NotFound(reason)),
                Err(AdminFailure::Invalid(reason)) => return Err(NodeError::Invalid(reason)),
                Err(AdminFailure::Unknown(reason)) => return Err(NodeError::OutcomeUnknown(reason)),
                Err(AdminFailure::Stopped(reason)) => return Err(NodeError::Fatal(reason)),
            }
        }
    }

    async fn admin_there(
        &self,
        leader: NodeId,
        message: &AdminMessage,
        deadline: Instant,
    ) -> Result<AdminDone, AdminFailure> {
        let client = self.consensus.peer(leader, Lane::Forward).ok_or(AdminFailure::NotLeader)?;
        let limit = deadline.saturating_duration_since(Instant::now());
        let answer =
            client.call(Method::Admin, to_bytes(message), limit).await.map_err(|error| match error {
                PeerError::Unreachable(_)
                | PeerError::NotListening(_)
                | PeerError::OtherCluster(_)
                | PeerError::OtherHistory(_)
                | PeerError::Refused(_) => AdminFailure::NotLeader,
                PeerError::Lost | PeerError::TimedOut => AdminFailure::Unknown(error.to_string()),
            })?;
        let done: Result<AdminDone, AdminFailure> = from_postcard("the leader's answer", &answer)
            .map_err(|error| AdminFailure::Unknown(error.to_string()))?;
        done.map_err(|failure| match failure {
            // Not this node.
            AdminFailure::Stopped(reason) => {
                AdminFailure::Unknown(format!("the leader has failed: {reason}"))
            }
            failure => failure,
        })
    }

    /// Carries out a request as the leader. At the deadline it answers that the outcome is unknown.
    async fn admin_here(
        &self,
        (principal, request): AdminMessage,
        deadline: Instant,
    ) -> Result<AdminDone, AdminFailure> {
        self.judge_admin(&principal)?;
        let late =
            || AdminFailure::Unknown("the change was not confirmed in time; it may still happen".into());
        tokio::time::timeout_at(deadline, self.admin_by_deadline(request, deadline))
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    /// Whether the leader lets this principal.
    fn judge_admin(&self, principal: &Principal) -> Result<(), AdminFailure> {
        let judged = self.judge_as_leader(principal, || vec![Need::Role(Role::Admin)]);
        judged.ok_or(AdminFailure::NotLeader)?.map_err(|error| match error {
            NodeError::Unauthorized(reason) => AdminFailure::Unauthorized(reason),
            error => AdminFailure::Forbidden(error.to_string()),
        })
    }

    async fn admin_by_deadline(
        &self,
        request: AdminRequest,
        deadline: Instant,
    ) -> Result<AdminDone, AdminFailure> {
        match request {
            AdminRequest::Add(request) => self.add(request, deadline).await.map(AdminDone::Joined),
            AdminRequest::Update { id, name, http } => {
                self.update(id, name, http, deadline).await.map(|()| AdminDone::Changed)
            }
            AdminRequest::Promote { id } => self.promote(id).await.map(|()| AdminDone::Changed),
            AdminRequest::Remove { id } => self.remove(id, deadline).await.map(|()| AdminDone::Changed),
            AdminRequest::Replace { id } => self.replace(id).await.map(|()| AdminDone::Changed),
            AdminRequest::AddInPlace { node, silent_ms } => {
                self.add_in_place(node, silent_ms, deadline).await.map(AdminDone::Joined)
            }
            AdminRequest::RaiseFeatureLevel => {
                self.raise_feature_level(deadline).await.map(AdminDone::FeatureLevel)
            }
            AdminRequest::OpenFork { node, history, start_index } => {
                let status = self.consensus.status();
                if find(&status, node)?.voter {
                    self.refuse_quorum_loss(&status, node)?;
                }
                self.propose_own(Command::OpenFork { history, node, start_index }, deadline).await?;
                Ok(AdminDone::Changed)
            }
            AdminRequest::CloseFork { history } => {
                self.propose_own(Command::CloseFork { history }, deadline).await?;
                Ok(AdminDone::Changed)
            }
            AdminRequest::Transfer { to } => self.transfer(to, deadline).await.map(|()| AdminDone::Changed),
            AdminRequest::Members => {
                let status = self.consensus.status();
                let progress =
                    |m: MemberState| Progress { id: m.id, matched: m.matched, silent_ms: m.silent_ms };
                Ok(AdminDone::Members(LeaderReport {
                    progress: status.members.into_iter().map(progress).collect(),
                    last_log_index: status.last_log_index,
                    shadow: self.touches.samples.report(),
                }))
            }
        }
    }

    /// Waits for the lock that adding or changing a member, or raising the feature level, needs. Gives up early enough
    /// to answer that nothing was done.
    pub(super) async fn lock_membership(
        &self,
        deadline: Instant,
    ) -> Result<MutexGuard<'_, ()>, AdminFailure> {
        let until = deadline.checked_sub(ANSWER_MARGIN).unwrap_or(deadline);
        let busy = |_| AdminFailure::Conflict("another change of the members is in progress".into());
        tokio::time::timeout_at(until, self.membership_lock.lock()).await.map_err(busy)
    }

    /// Assigns a number to a node and adds it as a learner. The number is the index of a log entry that is proposed for
    /// that purpose, so no number is ever assigned twice.
    pub(super) async fn add(
        &self,
        request: AddMemberMessage,
        deadline: Instant,
    ) -> Result<Joined, AdminFailure> {
        if self.is_detached() {
            let reason = "this node is detached from its cluster, and takes no members: they could not come back with it";
            return Err(AdminFailure::Conflict(reason.into()));
        }
        let joined = |id, name: String| Joined { lineage: self.identity.lineage.clone(), id, name };
        request.check().map_err(AdminFailure::Invalid)?;
        let _guard = self.lock_membership(deadline).await?;
        let members = self.consensus.status().members;
        if let Some(known) = members.iter().find(|known| known.member.store_uuid == request.store_uuid) {
            // This node's membership may be uncommitted, or one that was overwritten.
            let index = self.confirmed_index(AskedVoters::All).await.map_err(|_| AdminFailure::NotLeader)?;
            self.consensus.replica().applied(index).await;
            if self.consensus.replica().has_member(known.id) {
                return Ok(joined(known.id, known.member.name.clone()));
            }
            return Err(AdminFailure::Unknown("the node is being added; ask again".into()));
        }
        request.refuse_taken(members.iter()).map_err(AdminFailure::Conflict)?;
        let is_taken = |name: &str| members.iter().any(|other| other.member.name == name);
        let id = loop {
            let index =
                self.propose_own(Command::Tick, deadline).await.map_err(|_| AdminFailure::NotLeader)?;
            if index > FOUNDING_NODES_MAX as u64 {
                break index;
            }
        };
        // The tick is applied here, and so is every raise of the level before it in the log.
        let (known, kept) = (request.feature_level, self.feature_level());
        if known < kept {
            return Err(AdminFailure::Conflict(format!(
                "the cluster keeps feature level {kept}, and the node knows up to {known}: run a later version of Lockstep"
            )));
        }
        let name = request.name.unwrap_or_else(|| format!("n{id}"));
        if is_taken(&name) {
            return Err(AdminFailure::Conflict(format!("there is a member named {name} already")));
        }
        let AddMemberMessage { http, peer, store_uuid, .. } = request;
        let member = Member { name: name.clone(), http, peer, store_uuid };
        self.consensus.add_learner(id, member).await?;
        Ok(joined(id, name))
    }

    /// Proposes a command of the cluster's own; returns its index.
    pub(super) async fn propose_own(&self, command: Command, deadline: Instant) -> Result<u64, AdminFailure> {
        let body = Envelope::from(command).encode();
        let deadlines = Deadlines::at_once(deadline);
        Ok(self.propose_here(0, body, &ReadsBefore::default(), deadlines).await?.index)
    }

    /// Changes a member's name and URL in the membership.
    async fn update(
        &self,
        id: NodeId,
        name: String,
        http: String,
        deadline: Instant,
    ) -> Result<(), AdminFailure> {
        check_name(&name).and_then(|()| check_url(&http)).map_err(AdminFailure::Conflict)?;
        let _guard = self.lock_membership(deadline).await?;
        let status = self.consensus.status();
        let member = find(&status, id)?.member.clone();
        if let Some(other) = status.members.iter().find(|other| other.id != id && other.member.name == name) {
            let taken = format!("there is a member named {} already", other.member.name);
            return Err(AdminFailure::Conflict(taken));
        }
        let has_it = |other: &&MemberState| other.id != id && !http.is_empty() && other.member.http == http;
        if let Some(other) = status.members.iter().find(has_it) {
            let (name, http) = (&other.member.name, &other.member.http);
            return Err(AdminFailure::Conflict(format!("member {name} has the URL {http} already")));
        }
        self.consensus.update_member(id, Member { name, http, ..member }).await?;
        Ok(())
    }

    async fn promote(&self, id: NodeId) -> Result<(), AdminFailure> {
        let status = self.consensus.status();
        let member = find(&status, id)?;
        if member.voter {
            return Ok(());
        }
        let lag = member.matched.map(|matched| status.last_log_index.saturating_sub(matched));
        if lag.is_none_or(|lag| lag > PROMOTION_LAG_MAX) {
            let lag = lag.map_or_else(|| "all".into(), |lag| lag.to_string());
            let reason =
                format!("{} is {lag} entries behind; it can vote once it has caught up", member.member.name);
            return Err(AdminFailure::Conflict(reason));
        }
        self.consensus.promote(id).await?;
        Ok(())
    }

    async fn remove(&self, id: NodeId, deadline: Instant) -> Result<(), AdminFailure> {
        let status = self.consensus.status();
        let member = find(&status, id)?.clone();
        if member.voter {
            self.refuse_quorum_loss(&status, id)?;
        }
        if id == self.identity.node_id {
            // The leader hands leadership over first, and its successor removes it.
            self.transfer(None, deadline).await?;
            return Err(AdminFailure::NotLeader);
        }
        self.consensus.remove(id, member.voter).await?;
        Ok(())
    }

    /// Refuses to remove a voter if no majority of the remaining voters answers.
    pub(super) fn refuse_quorum_loss(&self, status: &RaftStatus, id: NodeId) -> Result<(), AdminFailure> {
        let left: Vec<&MemberState> = status.members.iter().filter(|m| m.voter && m.id != id).collect();
        let me = self.identity.node_id;
        let answering = left
            .iter()
            .filter(|m| m.id == me || m.silent_ms.is_some_and(|silent| silent <= SILENT_MS_MAX))
            .count();
        if left.is_empty() {
            return Err(AdminFailure::Conflict("the last voter cannot be removed".into()));
        }
        if answering <= left.len() / 2 {
            let reason = format!(
                "of the {} voters that would be left only {answering} answer: the cluster would lose its majority",
                left.len()
            );
            return Err(AdminFailure::Conflict(reason));
        }
        Ok(())
    }
}

pub(super) fn find(status: &RaftStatus, id: NodeId) -> Result<&MemberState, AdminFailure> {
    status
        .members
        .iter()
        .find(|member| member.id == id)
        .ok_or_else(|| AdminFailure::NotFound(format!("no member has the number {id}")))
}

/// Answers another node's request, if this one leads.
pub(super) async fn answer_admin(inner: &Inner, body: Bytes) -> Result<Bytes, String> {
    let message: AdminMessage =
        from_postcard("an admin request", &body).map_err(|error| error.to_string())?;
    let result = if inner.consensus.is_leader() {
        inner.admin_here(message, Instant::now() + ADMIN_TIMEOUT - RETRY_PAUSE).await
    } else {
        Err(AdminFailure::NotLeader)
    };
    Ok(to_bytes(&result))
}
