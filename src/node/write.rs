//! Writes: proposed here if this node leads, otherwise forwarded to the leader.

use super::access::{Principal, needs_in};
use super::error::NodeError;
use super::forward::forward_write;
use super::inner::Inner;
use super::own_reads::{Delivery, ReadsBefore};
use crate::api::Consistency;
use crate::cache::{Command, IdempotencyKey, Need, Outcome, TokenChange};
use crate::peer::NodeId;
use crate::raft::{Deadlines, ProposeError, Proposed};
use crate::replica::{COMMAND_BYTES_MAX, Envelope};
use bytes::Bytes;
use std::time::Duration;
use tokio::time::Instant;

/// The pause before the next attempt after a node turned out not to lead.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// The last attempt starts at least this long before the deadline. With less time left, a refusal could come too late
/// and become an unknown outcome.
pub(super) const LAST_ATTEMPT_MIN: Duration = Duration::from_millis(250);

/// A write of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteRequest {
    pub command: Command,
    /// The client's name for the request: requests with the same one are applied once.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The client's name for itself.
    pub origin: Option<String>,
    /// How long to wait for the outcome; the node's default if `None`.
    pub limit: Option<Duration>,
}

impl From<Command> for WriteRequest {
    fn from(command: Command) -> Self {
        Self { command, idempotency_key: None, origin: None, limit: None }
    }
}

/// Who asks for a write, and what it needs.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub principal: Principal,
    /// Empty where no token is needed.
    pub needs: Vec<Need>,
}

impl Asked {
    /// What it needs, also where no token was needed when it began.
    pub fn needs_of(&self, body: &[u8]) -> Vec<Need> {
        if self.needs.is_empty() { needs_in(body) } else { self.needs.clone() }
    }

    /// What the program itself writes needs nothing.
    pub fn by_program() -> Self {
        Self { principal: Principal::Program, needs: Vec::new() }
    }
}

/// The result of a write that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub outcome: Outcome,
    /// Index of the log entry. If `replayed`, that of the retry.
    pub index: u64,
    pub term: u64,
    /// Whether the outcome is that of an earlier request with the same idempotency key.
    pub replayed: bool,
    /// Log time when it was answered, by this node's clock, in milliseconds since the Unix epoch.
    pub now_ms: u64,
}

impl Inner {
    pub(super) async fn write(&self, request: WriteRequest, asked: &Asked) -> Result<Written, NodeError> {
        self.refuse_when_draining()?;
        self.refuse_when_removed()?;
        self.refuse_when_superseded(Consistency::Linearizable)?;
        self.departure.allows_writes()?;
        let answer = Instant::now() + request.limit.unwrap_or(self.options.limits.request);
        if !asked.needs.is_empty() {
            self.judge_own(&asked.principal, &asked.needs, answer).await?;
        }
        self.check_level(&request.command, answer).await?;
        let last_attempt = answer.checked_sub(LAST_ATTEMPT_MIN).unwrap_or(answer);
        // Encoded before it waits, so that its value is in memory only once.
        let WriteRequest { command, idempotency_key, origin, .. } = request;
        let body = Envelope { idempotency_key, origin, command }.encode();
        if body.len() > COMMAND_BYTES_MAX {
            return Err(NodeError::TooLarge { bytes: body.len(), limit: COMMAND_BYTES_MAX });
        }
        let _permit = self.admission.admit(body.len(), last_attempt).await?;
        // Who stops writes waits for those that have a permit.
        self.departure.allows_writes()?;
        let propose = (Instant::now() + self.options.limits.leader_wait).min(last_attempt);
        let done = self.propose_anywhere(body, asked, Deadlines { propose, answer }).await?;
        let (index, term) = (done.index, done.term);
        self.own_writes.note(index);
        let outcome = done.response.result.map_err(|error| NodeError::Refused { error, index, term })?;
        let now_ms = self.consensus.clock().now_ms().unwrap_or(0);
        Ok(Written { outcome, index, term, replayed: done.response.replayed, now_ms })
    }

    /// Tries until the command is proposed, here or by the leader, or the time is up. As long as nothing was proposed,
    /// an attempt can be repeated. Once something may have been proposed, the first answer is final.
    async fn propose_anywhere(
        &self,
        body: Bytes,
        asked: &Asked,
        deadlines: Deadlines,
    ) -> Result<Proposed, NodeError> {
        let reads = self.touches.before_write();
        let done = self.propose_with(&reads.before, body, asked, deadlines).await;
        let delivery = match &done {
            Ok(_) => Delivery::Delivered,
            Err(
                NodeError::Busy
                | NodeError::Unavailable(_)
                | NodeError::Unauthorized(_)
                | NodeError::Forbidden(_),
            ) => Delivery::Refused,
            Err(_) => Delivery::Unknown,
        };
        reads.end(delivery, || self.consensus.replica().with_cache(|cache| cache.config().touch));
        done
    }

    async fn propose_with(
        &self,
        before: &ReadsBefore,
        body: Bytes,
        asked: &Asked,
        deadlines: Deadlines,
    ) -> Result<Proposed, NodeError> {
        loop {
            let leader = self.wait_for_leader(deadlines.propose).await?;
            let result = if leader != self.identity.node_id {
                forward_write(self, leader, body.clone(), &asked.principal, before.clone(), deadlines).await?
            } else if let Some(judged) = self.judge_as_leader(&asked.principal, || asked.needs_of(&body)) {
                judged?;
                self.propose_here(leader, body.clone(), before, deadlines).await
            } else {
                Err(ProposeError::NotProposed("the leader does not know yet who may do this".into()))
            };
            let reason = match result {
                Ok(done) => return Ok(done),
                Err(ProposeError::Busy) => return Err(NodeError::Busy),
                Err(ProposeError::Refused(reason)) => return Err(NodeError::Unavailable(reason)),
                Err(ProposeError::Unknown(reason)) => return Err(NodeError::OutcomeUnknown(reason)),
                Err(ProposeError::Stopped(reason)) => return Err(NodeError::Fatal(reason)),
                Err(ProposeError::NotProposed(reason)) => reason,
            };
            if Instant::now() + RETRY_PAUSE >= deadlines.propose {
                return Err(self.unavailable(reason));
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Proposes as the leader, for a client of node `by`, or for the cluster itself if that is 0. The touches `before`
    /// are applied before the command.
    pub(super) async fn propose_here(
        &self,
        by: NodeId,
        body: Bytes,
        before: &ReadsBefore,
        deadlines: Deadlines,
    ) -> Result<Proposed, ProposeError> {
        // This node could store an entry that is too large, but could not send it to any other.
        if body.len() > COMMAND_BYTES_MAX {
            let reason = format!("a command has at most {COMMAND_BYTES_MAX} bytes, this one {}", body.len());
            return Err(ProposeError::NotProposed(reason));
        }
        // The outcome is computed here, and would be wrong. The writes of the cluster itself have none that anybody is told.
        if by != 0
            && let Some(index) = self.audit.differs_at()
        {
            let reason = format!("the leader's state differs from the others' at index {index}");
            return Err(ProposeError::NotProposed(reason));
        }
        // What the cluster does by itself must go on, and so must what operators do to give it its votes back.
        if by != 0
            && let Err(reason) = self.write_gate.pass()
            && !helps_out_of_a_recovery(&body)
        {
            return Err(ProposeError::Refused(reason));
        }
        let config = || self.consensus.replica().with_cache(|cache| cache.config().touch);
        let reads = self.touches.for_entry(by, before, config, body.len());
        let result = self.consensus.propose(by, body, reads.encoded(), deadlines).await;
        if result.as_ref().is_err_and(ProposeError::has_no_effect) {
            reads.give_back(config);
        }
        result
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

/// Whether operators need it so that a recovered cluster gets its votes back: notes of what they do, and tokens to do it with.
fn helps_out_of_a_recovery(body: &[u8]) -> bool {
    let needs = |command: &Command| match command {
        Command::NoteAdminAction(_) => true,
        Command::Tokens(change) => matches!(**change, TokenChange::Create { .. }),
        _ => false,
    };
    Envelope::decode(body).is_ok_and(|envelope| needs(&envelope.command))
}
