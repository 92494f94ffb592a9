//! What a node tells about itself and its cluster.

use super::admin::{AdminDone, AdminRequest, LeadersView, Progress};
use super::error::NodeError;
use super::start::Inner;
use crate::api::{Consistency, Digests, IndexedDigest, Leader, MemberStatus, Members, NodeName, Status};
use crate::cache::Cache;
use crate::raft::{RaftStatus, Role};
use std::time::Duration;

/// How long a follower waits for the leader's view of the members.
const MEMBERS_LIMIT: Duration = Duration::from_millis(500);
/// How often the positions are read until they fit together, and how long Raft's may take to come up.
const STATUS_TRIES: usize = 3;
const VIEW_LIMIT: Duration = Duration::from_millis(100);
const READY_LIMIT: Duration = Duration::from_secs(1);

impl Inner {
    pub(super) async fn status(&self) -> Status {
        let leaders_view = self.leaders_view().await;
        self.at_one_moment(|status, cache| self.status_at(status, cache, &leaders_view)).await
    }

    /// Looks at Raft's positions and at the cache, so that they fit together.
    pub(super) async fn at_one_moment<T>(&self, look: impl Fn(&RaftStatus, &Cache) -> T) -> T {
        let mut tries = STATUS_TRIES;
        loop {
            // The view first: what it says was applied, snapshotted and purged, the cache then has.
            let status = self.consensus.status();
            let (applied, seen) =
                self.consensus.replica().with_cache(|cache| (cache.index(), look(&status, cache)));
            tries -= 1;
            if applied <= status.committed_index || tries == 0 {
                return seen;
            }
            // Raft tells of what it committed a moment after it was applied.
            self.consensus.wait_for(VIEW_LIMIT, |status| status.committed_index >= applied).await;
        }
    }

    fn status_at(&self, status: &RaftStatus, cache: &Cache, leaders_view: &LeadersView) -> Status {
        let members = members_of(status, leaders_view);
        Status {
            cluster_id: self.identity.cluster_id.clone(),
            incarnation: self.identity.incarnation(),
            node: NodeName { id: self.identity.node_id, name: self.identity.name.clone() },
            role: role(status.role).into(),
            leader: leader(status),
            term: status.term,
            last_log_index: status.last_log_index,
            committed_index: status.committed_index,
            applied_index: cache.index(),
            snapshot_index: status.snapshot_index,
            purged_index: status.purged_index,
            digest: IndexedDigest { index: cache.index(), digest: cache.digest().to_string() },
            differs_at: self.audit.differs_at(),
            majority: self.audit.standing.has_majority(),
            removed: self.audit.standing.is_removed(),
            warnings: self.warnings(status),
            members: members.members,
            config: cache.config().clone().into(),
            entries: cache.len(),
            bytes: cache.bytes(),
            cache: self.cache_report(cache, leaders_view.shadow.clone()),
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
        members_of(&self.consensus.status(), &self.leaders_view().await)
    }

    /// What only the leader knows, if it answers in time.
    pub(super) async fn leaders_view(&self) -> LeadersView {
        match tokio::time::timeout(MEMBERS_LIMIT, self.admin(AdminRequest::Members)).await {
            Ok(Ok(AdminDone::Members(status))) => status,
            _ => LeadersView::default(),
        }
    }

    pub(super) fn leader(&self) -> Option<Leader> {
        leader(&self.consensus.status())
    }

    pub(super) fn digests(&self) -> Digests {
        let digests = self.consensus.replica().digests();
        let indexed = |(index, digest): (u64, crate::cache::Digest)| IndexedDigest {
            index,
            digest: digest.to_string(),
        };
        Digests { digests: digests.into_iter().map(indexed).collect() }
    }

    /// Whether clients should be sent here: a member that has caught up and can read linearizably.
    pub(super) async fn ready(&self) -> Result<(), NodeError> {
        self.refuse_when_draining()?;
        let status = self.consensus.status();
        if let Some(reason) = status.stopped {
            return Err(NodeError::Fatal(reason));
        }
        if !status.members.iter().any(|member| member.id == self.identity.node_id) {
            return Err(NodeError::Unavailable("this node is not a member of the cluster".into()));
        }
        let read = self.read(Consistency::Linearizable, None, Some(READY_LIMIT), Cache::now_ms).await?;
        if read.value == 0 {
            return Err(NodeError::Unavailable("the cluster has not got its first settings yet".into()));
        }
        Ok(())
    }
}

/// The members, with what only the leader knows about them.
fn members_of(status: &RaftStatus, leaders_view: &LeadersView) -> Members {
    let LeadersView { progress, last_log_index, .. } = leaders_view;
    let member_status = |member: &crate::raft::MemberState| {
        let known = progress.iter().find(|known: &&Progress| known.id == member.id);
        let leads = status.leader == Some(member.id);
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

fn leader(status: &RaftStatus) -> Option<Leader> {
    let member = status.members.iter().find(|member| Some(member.id) == status.leader)?;
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
