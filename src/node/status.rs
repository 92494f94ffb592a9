//! A node's status, and its view of the cluster.

use super::access::Principal;
use super::admin::{AdminDone, AdminRequest, LeaderReport, Progress};
use super::error::NodeError;
use super::inner::Inner;
use super::process_memory::ProcessMemory;
use crate::api::{
    Consistency, Digests, HistoryName, IndexedDigest, Leader, MemberStatus, Members, NodeName, Status,
};
use crate::cache::Cache;
use crate::peer::NodeId;
use crate::raft::{RaftStatus, Role};
use std::time::Duration;

/// How long a follower waits for the leader's report on the members.
const MEMBERS_TIMEOUT: Duration = Duration::from_millis(500);
/// How often Raft's and the cache's positions are read until they are consistent, and how long to wait for Raft's.
const STATUS_TRIES: usize = 3;
const STATUS_TIMEOUT: Duration = Duration::from_millis(100);
const READY_TIMEOUT: Duration = Duration::from_secs(1);

impl Inner {
    pub(super) async fn status(&self) -> Status {
        let leader_report = self.leader_report().await;
        let memory_resident_bytes = ProcessMemory::now().map(ProcessMemory::total);
        let status = self.at_one_moment(|status, cache| self.status_at(status, cache, &leader_report)).await;
        Status { memory_resident_bytes, ..status }
    }

    /// Reads Raft's status and the cache so that their positions are consistent.
    pub(super) async fn at_one_moment<T>(&self, look: impl Fn(&RaftStatus, &Cache) -> T) -> T {
        let mut tries = STATUS_TRIES;
        loop {
            // Raft's status first: the cache then has everything that it says was applied, snapshotted and purged.
            let status = self.consensus.status();
            let (applied, seen) =
                self.consensus.replica().with_cache(|cache| (cache.index(), look(&status, cache)));
            tries -= 1;
            if applied <= status.committed_index || tries == 0 {
                return seen;
            }
            // Raft publishes its committed index a moment after the entries are applied.
            self.consensus.wait_for(STATUS_TIMEOUT, |status| status.committed_index >= applied).await;
        }
    }

    fn status_at(&self, status: &RaftStatus, cache: &Cache, leader_report: &LeaderReport) -> Status {
        let superseded_by = self.supersession.superseded_by().map(|by| HistoryName::from(&by.lineage));
        // The leader that Raft knows last is of a history that has ended, and nobody is asked who else is there.
        let leader_id = status.leader.filter(|_| superseded_by.is_none());
        let members = members_of(status, leader_id, leader_report);
        let majority = superseded_by.is_none() && self.audit.health.has_majority();
        Status {
            cluster_id: self.identity.cluster_id().to_owned(),
            // Not asked for under the lock that `apply` waits for.
            memory_resident_bytes: None,
            history: HistoryName::from(&self.identity.lineage),
            node: NodeName { id: self.identity.node_id, name: self.identity.name.clone() },
            role: if superseded_by.is_some() { "superseded".into() } else { role(status.role).into() },
            leader: leader(status, leader_id),
            term: status.term,
            last_log_index: status.last_log_index,
            committed_index: status.committed_index,
            applied_index: cache.index(),
            snapshot_index: status.snapshot_index,
            purged_index: status.purged_index,
            digest: IndexedDigest { index: cache.index(), digest: cache.digest().to_string() },
            differs_at: self.audit.differs_at(),
            majority,
            removed: self.audit.health.is_removed(),
            superseded_by,
            detached: self.detachment(),
            warnings: self.warnings(status),
            members: members.members,
            config: cache.config().clone().into(),
            entries: cache.len(),
            bytes: cache.bytes(),
            cache: self.cache_report(cache, leader_report.shadow.clone()),
            log_time_ms: cache.now_ms(),
            log_time_ahead_ms: self.consensus.clock().ahead_of_wall_ms(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_ms: self.uptime_ms(),
        }
    }

    pub(super) fn uptime_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) async fn members(&self) -> Members {
        let status = self.consensus.status();
        members_of(&status, status.leader, &self.leader_report().await)
    }

    /// The leader's report, if it answers in time; otherwise an empty one.
    pub(super) async fn leader_report(&self) -> LeaderReport {
        let limit = self.consensus.timing().limit(MEMBERS_TIMEOUT);
        match tokio::time::timeout(limit, self.admin(&Principal::Program, AdminRequest::Members)).await {
            Ok(Ok(AdminDone::Members(report))) => report,
            _ => LeaderReport::default(),
        }
    }

    pub(super) fn leader(&self) -> Option<Leader> {
        // What Raft knows last is of a history that has ended.
        let status = self.consensus.status();
        leader(&status, status.leader).filter(|_| !self.supersession.is_superseded())
    }

    pub(super) fn digests(&self) -> Digests {
        let digests = self.consensus.replica().digests();
        let indexed = |(index, digest): (u64, crate::cache::Digest)| IndexedDigest {
            index,
            digest: digest.to_string(),
        };
        Digests { digests: digests.into_iter().map(indexed).collect() }
    }

    /// Whether clients should be sent here: the node is a member, has its settings and can serve linearizable reads; if it
    /// leads, also that its first token was made.
    pub(super) async fn ready(&self) -> Result<(), NodeError> {
        self.refuse_when_draining()?;
        let status = self.consensus.status();
        if let Some(reason) = status.stopped {
            return Err(NodeError::Fatal(reason));
        }
        if !status.members.iter().any(|member| member.id == self.identity.node_id) {
            return Err(NodeError::Unavailable("this node is not a member of the cluster".into()));
        }
        let limit = self.consensus.timing().limit(READY_TIMEOUT);
        let read = self.read(Consistency::Linearizable, None, Some(limit), Cache::now_ms).await?;
        if read.value == 0 {
            return Err(NodeError::Unavailable("the cluster has not got its first settings yet".into()));
        }
        // The leader makes it. Others do not wait for it: one that is restarted with tokens before the leader would wait for the
        // leader's own restart, which waits for this node to be ready.
        if self.consensus.is_leader() && self.lacks_first_token() {
            return Err(NodeError::Unavailable("the cluster has not got its first token yet".into()));
        }
        Ok(())
    }
}

/// The members, with the leader's report on them.
fn members_of(status: &RaftStatus, leader_id: Option<NodeId>, leader_report: &LeaderReport) -> Members {
    let LeaderReport { progress, last_log_index, .. } = leader_report;
    let member_status = |member: &crate::raft::MemberState| {
        let known = progress.iter().find(|known: &&Progress| known.id == member.id);
        let leads = leader_id == Some(member.id);
        let matched = known.and_then(|known| if leads { Some(*last_log_index) } else { known.matched });
        MemberStatus {
            id: member.id,
            name: member.member.name.clone(),
            http: member.member.http.clone(),
            peer: member.member.peer.clone(),
            role: if leads {
                "leader".into()
            } else if member.voter {
                "follower".into()
            } else {
                "learner".into()
            },
            voter: member.voter,
            lag: matched.map(|matched| last_log_index.saturating_sub(matched)),
            silent_ms: known.and_then(|known| if leads { Some(0) } else { known.silent_ms }),
        }
    };
    Members { members: status.members.iter().map(member_status).collect(), joint: status.joint }
}

fn leader(status: &RaftStatus, id: Option<NodeId>) -> Option<Leader> {
    let member = status.members.iter().find(|member| Some(member.id) == id)?;
    Some(Leader { id: member.id, name: member.member.name.clone(), http: member.member.http.clone() })
}

pub(super) fn role(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Learner => "learner",
        Role::Candidate => "candidate",
    }
}
