//! Writes: into the log when this node leads, over the peer link to the leader when it does not.

use super::error::NodeError;
use super::forward::{ForwardFailure, forward_write};
use super::own_reads::{Before, Fate};
use super::start::Inner;
use crate::cache::{Command, Outcome};
use crate::peer::NodeId;
use crate::raft::{ProposeError, Proposed};
use crate::replica::{COMMAND_BYTES_MAX, Envelope};
use bytes::Bytes;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// A pause before asking a leader that was not one a moment ago.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// A pause before proposing again when no majority has answered the leader for a while.
const LEASE_PAUSE: Duration = Duration::from_millis(20);
/// The least that is left of the time for the last try. Cut short, a refusal would become an unknown outcome.
const LAST_TRY: Duration = Duration::from_millis(250);

/// How long a write may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// Until when a leader that takes it is looked for.
    pub propose: Instant,
    /// Until when its outcome is waited for.
    pub answer: Instant,
}

impl Times {
    /// Proposed now or never.
    pub fn at_once(answer: Instant) -> Self {
        Self { propose: Instant::now(), answer }
    }
}

/// A command on its way into the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteRequest {
    pub command: Command,
    /// The client's name for the request: sent again with the same one, it is applied once.
    pub idempotency_key: Option<String>,
    /// How long to wait for the outcome; the node's own limit when `None`.
    pub limit: Option<Duration>,
}

impl From<Command> for WriteRequest {
    fn from(command: Command) -> Self {
        Self { command, idempotency_key: None, limit: None }
    }
}

/// A command that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub outcome: Outcome,
    /// Index of the log entry; where `replayed`, of the entry of the retry.
    pub index: u64,
    pub term: u64,
    /// The outcome was remembered from an earlier request with the same idempotency key.
    pub replayed: bool,
}

impl Inner {
    pub(super) async fn write(&self, request: WriteRequest) -> Result<Written, NodeError> {
        self.refuse_when_draining()?;
        self.refuse_when_removed()?;
        let answer = Instant::now() + request.limit.unwrap_or(self.options.limits.request);
        self.check_level(&request.command, answer).await?;
        let last_try = answer.checked_sub(LAST_TRY).unwrap_or(answer);
        // Encoded first, so that a value that waits is held once.
        let body = Envelope { idempotency_key: request.idempotency_key, command: request.command }.encode();
        if body.len() > COMMAND_BYTES_MAX {
            return Err(NodeError::TooLarge { bytes: body.len(), limit: COMMAND_BYTES_MAX });
        }
        let _place = self.admission.enter(body.len(), last_try).await?;
        let propose = (Instant::now() + self.options.limits.leader_wait).min(last_try);
        let done = self.propose_anywhere(body, Times { propose, answer }).await?;
        let (index, term) = (done.index, done.term);
        let outcome = done.response.result.map_err(|error| NodeError::Refused { error, index, term })?;
        Ok(Written { outcome, index, term, replayed: done.response.replayed })
    }

    /// Tries until the proposal was made somewhere or time is up. As long as nothing was proposed, trying
    /// again is harmless; once something may have been, the first answer is final.
    async fn propose_anywhere(&self, body: Bytes, times: Times) -> Result<Proposed, NodeError> {
        let reads = self.touches.before_write();
        let done = self.propose_with(&reads.before, body, times).await;
        let fate = match &done {
            Ok(_) => Fate::Taken,
            Err(NodeError::Busy | NodeError::Unavailable(_)) => Fate::Refused,
            Err(_) => Fate::Unknown,
        };
        reads.end(fate, || self.consensus.replica().with_cache(|cache| cache.config().touch));
        done
    }

    async fn propose_with(&self, before: &Before, body: Bytes, times: Times) -> Result<Proposed, NodeError> {
        loop {
            let leader = self.wait_for_leader(times.propose).await?;
            let result = if leader == self.identity.node_id {
                self.propose_here(leader, body.clone(), before, times).await
            } else {
                forward_write(self, leader, body.clone(), before.clone(), times).await
            };
            let reason = match result {
                Ok(done) => return Ok(done),
                Err(ForwardFailure::Busy) => return Err(NodeError::Busy),
                Err(ForwardFailure::Unknown(reason)) => return Err(NodeError::OutcomeUnknown(reason)),
                Err(ForwardFailure::Stopped(reason)) => return Err(NodeError::Fatal(reason)),
                Err(ForwardFailure::NothingDone(reason)) => reason,
            };
            if Instant::now() + RETRY_PAUSE >= times.propose {
                let reason = match self.audit.standing.has_majority() {
                    true => reason,
                    false => "no majority of the voters answers this node".into(),
                };
                return Err(NodeError::Unavailable(reason));
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Proposes as the leader, for a client of node `by`, or for the cluster itself when that is 0. The reads `before` count
    /// before the command.
    pub(super) async fn propose_here(
        &self,
        by: NodeId,
        body: Bytes,
        before: &Before,
        times: Times,
    ) -> Result<Proposed, ForwardFailure> {
        // An entry that is too large would be kept by this node and could be sent to no other.
        if body.len() > COMMAND_BYTES_MAX {
            let reason = format!("a command has at most {COMMAND_BYTES_MAX} bytes, this one {}", body.len());
            return Err(ForwardFailure::NothingDone(reason));
        }
        let config = || self.consensus.replica().with_cache(|cache| cache.config().touch);
        let reads = self.touches.for_entry(by, before, config, body.len());
        let touches = reads.encoded();
        loop {
            let proposed = self.consensus.propose(by, body.clone(), touches.clone());
            let Ok(result) = timeout_at(times.answer, proposed).await else {
                return Err(ForwardFailure::Unknown("no majority confirmed the write in time".into()));
            };
            // It waits here: asked again from outside, the leader would get the body again each time, and have more to do.
            if matches!(result, Err(ProposeError::NoLease)) && Instant::now() + LEASE_PAUSE < times.propose {
                tokio::time::sleep(LEASE_PAUSE).await;
                continue;
            }
            let failure = match result {
                Ok(done) => return Ok(done),
                Err(
                    error @ (ProposeError::NotLeader { .. } | ProposeError::NoTime | ProposeError::NoLease),
                ) => ForwardFailure::NothingDone(error.to_string()),
                Err(ProposeError::Busy) => ForwardFailure::Busy,
                Err(error @ ProposeError::Unknown) => return Err(ForwardFailure::Unknown(error.to_string())),
                Err(ProposeError::Stopped(reason)) => return Err(ForwardFailure::Stopped(reason)),
            };
            reads.give_back(config);
            return Err(failure);
        }
    }

    /// The leader's number, once there is one.
    pub(super) async fn wait_for_leader(&self, until: Instant) -> Result<u64, NodeError> {
        if let Some(leader) = self.consensus.leader() {
            return Ok(leader);
        }
        let limit = until.saturating_duration_since(Instant::now());
        self.consensus.wait_for(limit, |status| status.leader.is_some()).await;
        self.consensus.leader().ok_or_else(|| match self.consensus.status().stopped {
            Some(reason) => NodeError::Fatal(reason),
            None => NodeError::Unavailable("the cluster has no leader at the moment".into()),
        })
    }
}
