//! Forwards writes and read-index requests to the leader. Nothing is forwarded twice: a node that does not lead says
//! so, and the forwarding node looks for the leader again.

use super::access::{Principal, needs_of};
use super::error::NodeError;
use super::inner::Inner;
use super::own_reads::ReadsBefore;
use super::read_index::{ReadIndexFailure, ReadIndexResult};
use super::write::{Asked, LAST_ATTEMPT_MIN};
use crate::cache::limits::FEATURE_LEVEL_FIRST;
use crate::cache::{Command, Need};
use crate::peer::{Lane, Method, NodeId, PeerError};
use crate::raft::{Deadlines, ProposeError, Proposed, WireVote};
use crate::replica::{COMMAND_BYTES_MAX, CodecError, Envelope, from_postcard, take_part, to_bytes};
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::Instant;

/// Longest timeout of a forwarded write: longer than any node lets its clients wait.
const TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// A write that a node forwards to the leader. In the message the body comes last and as it is, so that decoding does
/// not copy it.
#[derive(Debug)]
pub(super) struct ForwardedWrite {
    /// How long the leader may try to propose it, in milliseconds.
    pub propose_ms: u64,
    /// How long to wait for the outcome, in milliseconds.
    pub answer_ms: u64,
    /// Who asks. The other node is trusted to say so, as it is with everything else.
    pub principal: Principal,
    /// The forwarding node's touches so far, to be applied before the command.
    pub before: ReadsBefore,
    pub body: Bytes,
}

impl ForwardedWrite {
    pub fn encode(&self) -> Bytes {
        let head = to_bytes(&(self.propose_ms, self.answer_ms, &self.principal, &self.before));
        let mut out = BytesMut::with_capacity(4 + head.len() + self.body.len());
        out.put_u32(u32::try_from(head.len()).unwrap_or(u32::MAX));
        out.put_slice(&head);
        out.put_slice(&self.body);
        out.freeze()
    }

    /// Decodes a message. The body shares its memory.
    ///
    /// # Errors
    /// [`CodecError`] on anything [`encode`](Self::encode) did not write.
    pub fn decode(mut message: Bytes) -> Result<Self, CodecError> {
        let what = "a forwarded write";
        let (propose_ms, answer_ms, principal, before) =
            from_postcard(what, &take_part(&mut message, what)?)?;
        Ok(Self { propose_ms, answer_ms, principal, before, body: message })
    }
}

/// The leader's answer to it.
#[derive(Debug, Serialize, Deserialize)]
enum WriteReply {
    Done(Result<Proposed, ProposeError>),
    Unauthorized(String),
    Forbidden(String),
}

/// Has the leader propose a write.
///
/// # Errors
/// [`NodeError::Unauthorized`], [`NodeError::Forbidden`]: the leader knows that it is not allowed.
pub(super) async fn forward_write(
    inner: &Inner,
    leader: NodeId,
    body: Bytes,
    principal: &Principal,
    before: ReadsBefore,
    deadlines: Deadlines,
) -> Result<Result<Proposed, ProposeError>, NodeError> {
    let limit = deadlines.answer.saturating_duration_since(Instant::now());
    let Some(client) = inner.consensus.peer(leader, Lane::Forward) else {
        return Ok(Err(ProposeError::NotProposed("the leader's address is not known yet".into())));
    };
    // The leader gives up a little earlier than this node, so that its answer still arrives.
    let left_ms = |until: Instant| {
        let left = until.saturating_duration_since(Instant::now());
        u64::try_from(left.as_millis().saturating_sub(20)).unwrap_or(u64::MAX)
    };
    let (propose_ms, answer_ms) = (left_ms(deadlines.propose), left_ms(deadlines.answer));
    let principal = principal.clone();
    let message = ForwardedWrite { propose_ms, answer_ms, principal, before, body }.encode();
    let failed = match client.call(Method::Write, message, limit).await {
        Ok(answer) => return read_reply(&answer),
        Err(
            error @ (PeerError::Unreachable(_)
            | PeerError::NotListening(_)
            | PeerError::OtherCluster(_)
            | PeerError::OtherHistory(_)
            | PeerError::Refused(_)),
        ) => ProposeError::NotProposed(format!("the leader does not take the write: {error}")),
        Err(PeerError::Lost) => ProposeError::Unknown("the connection to the leader was lost".into()),
        Err(PeerError::TimedOut) => ProposeError::Unknown("the leader did not answer in time".into()),
    };
    Ok(Err(failed))
}

fn read_reply(answer: &[u8]) -> Result<Result<Proposed, ProposeError>, NodeError> {
    match from_postcard("the leader's answer", answer) {
        // Not this node.
        Ok(WriteReply::Done(Err(ProposeError::Stopped(reason)))) => {
            Ok(Err(ProposeError::Unknown(format!("the leader has failed: {reason}"))))
        }
        Ok(WriteReply::Done(result)) => Ok(result),
        Ok(WriteReply::Unauthorized(reason)) => Err(NodeError::Unauthorized(reason)),
        Ok(WriteReply::Forbidden(reason)) => Err(NodeError::Forbidden(reason)),
        Err(error) => Ok(Err(ProposeError::Unknown(error.to_string()))),
    }
}

/// Checks a forwarded command: this program can decode it, it is not too large, and it is one that clients may send.
/// The other node has checked that, too, unless it is faulty or of another release.
/// Returns what it needs; nothing where no token is needed.
fn check(inner: &Inner, body: &[u8]) -> Result<Vec<Need>, String> {
    if body.len() > COMMAND_BYTES_MAX {
        return Err(format!("a command has at most {COMMAND_BYTES_MAX} bytes, this one {}", body.len()));
    }
    let envelope = Envelope::decode(body).map_err(|error| error.to_string())?;
    let needed = envelope.command.level();
    if needed > FEATURE_LEVEL_FIRST && needed > inner.feature_level() {
        return Err(format!("the leader does not keep feature level {needed} yet"));
    }
    match envelope.command {
        Command::One(_)
        | Command::Batch(_)
        | Command::Sequence { .. }
        | Command::Clear { .. }
        | Command::Configure(_)
        | Command::Merge(_)
        | Command::Tokens(_)
        | Command::Sessions(_)
        | Command::NoteAdminAction(_) => {
            Ok(if inner.needs_token() { needs_of(&envelope.command) } else { Vec::new() })
        }
        Command::Tick
        | Command::RaiseFeatureLevel { .. }
        | Command::OpenFork { .. }
        | Command::CloseFork { .. } => Err("only the leader itself proposes this kind of command".into()),
    }
}

/// Answers a forwarded write, as the leader.
pub(super) async fn answer_write(inner: &Inner, from: NodeId, body: Bytes) -> Result<Bytes, String> {
    let message = ForwardedWrite::decode(body).map_err(|error| error.to_string())?;
    let asked = Asked { needs: check(inner, &message.body)?, principal: message.principal };
    let until = |ms: u64| Instant::now() + Duration::from_millis(ms).min(TIMEOUT_MAX);
    let deadlines = Deadlines { propose: until(message.propose_ms), answer: until(message.answer_ms) };
    // As with own writes: early enough for the answer that nothing was done.
    let last_attempt = deadlines.answer.checked_sub(LAST_ATTEMPT_MIN).unwrap_or(deadlines.answer);
    let Ok(_permit) = inner.admission.admit(message.body.len(), last_attempt).await else {
        // A leader that is about to leave admits nothing, and another one leads soon.
        let refusal = match inner.departure.allows_writes() {
            Ok(()) => ProposeError::Busy,
            Err(leaving) => ProposeError::NotProposed(leaving.to_string()),
        };
        return Ok(to_bytes(&WriteReply::Done(Err(refusal))));
    };
    let reply = match inner.judge_as_leader(&asked.principal, || asked.needs_of(&message.body)) {
        Some(Ok(())) => {
            WriteReply::Done(inner.propose_here(from, message.body, &message.before, deadlines).await)
        }
        Some(Err(NodeError::Unauthorized(reason))) => WriteReply::Unauthorized(reason),
        Some(Err(error)) => WriteReply::Forbidden(error.to_string()),
        None => {
            let reason = "this node does not lead, or does not know yet who may do this";
            WriteReply::Done(Err(ProposeError::NotProposed(reason.into())))
        }
    };
    Ok(to_bytes(&reply))
}

/// A follower's request for a read index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ReadIndexRequest {
    lease: bool,
    /// The follower's newest vote: it counts for the confirmation that the leader still leads.
    vote: Option<WireVote>,
}

/// The leader's answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum ReadIndexReply {
    Index(u64),
    Unavailable(String),
}

/// Asks the leader for a read index.
pub(super) async fn forward_read_index(
    inner: &Inner,
    leader: NodeId,
    lease: bool,
    limit: Duration,
) -> ReadIndexResult {
    let Some(client) = inner.consensus.peer(leader, Lane::Control) else {
        return Err(ReadIndexFailure::Unavailable("the leader's address is not known yet".into()));
    };
    let request = to_bytes(&ReadIndexRequest { lease, vote: inner.consensus.vote() });
    let answer = client.call(Method::ReadIndex, request, limit).await;
    let answer = answer.map_err(|error| ReadIndexFailure::Unavailable(error.to_string()))?;
    match from_postcard("the leader's answer", &answer) {
        Ok(ReadIndexReply::Index(index)) => Ok(index),
        Ok(ReadIndexReply::Unavailable(reason)) => Err(ReadIndexFailure::Unavailable(reason)),
        Err(error) => Err(ReadIndexFailure::Unavailable(error.to_string())),
    }
}

/// Answers a read-index request, as the leader.
pub(super) async fn answer_read_index(inner: &Inner, from: NodeId, body: Bytes) -> Result<Bytes, String> {
    let request: ReadIndexRequest =
        from_postcard("a read-index request", &body).map_err(|error| error.to_string())?;
    let confirmed = match request.lease {
        true => inner.lease_index(),
        false => None,
    };
    let reply = match confirmed.or_else(|| inner.index_confirmed_by((from, request.vote))) {
        Some(index) => ReadIndexReply::Index(index),
        // The round is shared with this node's own reads, and with those of other followers. If this node does not lead,
        // it must not forward the request.
        None if inner.consensus.is_leader() => match inner.read_index.ask(false).await {
            Ok(index) => ReadIndexReply::Index(index),
            Err(error) => ReadIndexReply::Unavailable(error.to_string()),
        },
        None => ReadIndexReply::Unavailable("this node does not lead the cluster".into()),
    };
    Ok(to_bytes(&reply))
}
