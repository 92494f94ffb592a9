//! Carries out plans that came one after another: as few log entries and reads as their order allows.
//!
//! Up to the last one that writes they become sequences, each one log entry: its operations are carried out in order, and each has its own
//! result. What follows only reads. It came before the last sequence was proposed, so what the cluster had once that was
//! applied is new enough, and this node's own copy tells it without asking another node. Plans that all only read are read at one moment.

use super::errors::{of_node, too_large};
use super::plan::{Done, Plan, Shape, results};
use super::reply::Reply;
use super::work;
use crate::api::Consistency;
use crate::cache::limits::SEQUENCE_OPS_MAX;
use crate::cache::{Absence, Command, CommandError, Found, Guard, Key, KeyInfo, Op, Outcome};
use crate::front::{AnswerMemory, AnswerPermit};
use crate::node::{NodeError, ReadAt, Session, SessionError, Written};

/// Operations, and bytes of their keys and values, in one log entry, unless a command needs more.
const SEQUENCE_OPS: usize = 1_024;
const SEQUENCE_BYTES: usize = 256 * 1024;
/// Bytes of keys in one log entry of a command that takes several.
const LARGE_SEQUENCE_BYTES: usize = 1024 * 1024;
/// Bytes of values that are read at one moment.
const VALUES_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Plans that are being carried out.
pub(super) struct Run<'a> {
    session: Session,
    answers: &'a AnswerMemory,
    /// Plans that have no reply yet.
    rest: &'a [Plan],
    /// How many of them there are up to the last that writes.
    writing: usize,
    /// Whether reads count as uses.
    touches: bool,
    /// The newest log entry of this run.
    applied: Option<u64>,
    /// A part had no known effect, so what follows it is not carried out.
    failed: Option<Reply>,
}

/// The replies of the next plans.
pub(super) struct Replies {
    pub replies: Vec<Reply>,
    /// Their part of the memory of all answers, until they are sent.
    pub permit: Option<AnswerPermit>,
    /// Whatever changes after this index, the replies do not have.
    pub index: u64,
}

impl<'a> Run<'a> {
    pub fn new(session: Session, answers: &'a AnswerMemory, plans: &'a [Plan], touches: bool) -> Self {
        let writing = plans.iter().rposition(Plan::writes).map_or(0, |last| last + 1);
        Self { session, answers, rest: plans, writing, touches, applied: None, failed: None }
    }

    /// The newest log entry that was written.
    pub fn applied(&self) -> Option<u64> {
        self.applied
    }

    /// Carries out the next ones. `None` at the end.
    pub async fn next(&mut self) -> Option<Replies> {
        if self.rest.is_empty() {
            return None;
        }
        if let Some(failed) = &self.failed {
            let replies = std::mem::take(&mut self.rest).iter().map(|plan| refused(plan, failed)).collect();
            return Some(Replies { replies, permit: None, index: 0 });
        }
        if self.writing == 0 {
            let replies = read(&self.session, self.answers, self.rest, self.applied, self.touches).await;
            self.rest = &self.rest[replies.replies.len()..];
            return Some(replies);
        }
        let fitting = fitting(&self.rest[..self.writing]);
        let fitting = work::fitting(&self.session, &self.rest[..fitting]).await;
        let (part, after) = self.rest.split_at(fitting);
        (self.rest, self.writing) = (after, self.writing - part.len());
        match sequence(&self.session, part).await {
            Ok((replies, index)) => {
                self.applied = Some(index);
                let permit = self.answers.take(replies.iter().map(Reply::bytes).sum());
                // Within the entry, a read can come before a write.
                Some(Replies { replies, permit, index: index.saturating_sub(1) })
            }
            Err(failed) => {
                let skipped = "UNAVAILABLE nothing was done: a command before this one was not carried out";
                self.failed = Some(Reply::error(skipped));
                let replies = part.iter().map(|plan| refused(plan, &failed)).collect();
                Some(Replies { replies, permit: None, index: 0 })
            }
        }
    }
}

/// Carries out all of them in one log entry, if these guards hold. `None`: one does not. Otherwise their replies, and the entry's index.
pub(super) async fn run_if(
    session: &Session,
    guards: Vec<Guard>,
    plans: &[Plan],
) -> Result<Option<(Vec<Reply>, u64)>, SessionError> {
    let ops: Vec<Op> = plans.iter().flat_map(|plan| plan.ops.iter().cloned()).collect();
    let written = session.write(Command::Sequence { guards, ops }).await;
    match written {
        Ok(Written { outcome, now_ms, index, .. }) => {
            Ok(Some((reply(plans, &results(outcome), now_ms), index)))
        }
        Err(SessionError {
            error: NodeError::Refused { error: CommandError::GuardFailed { .. }, .. },
            ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How many plans go into the next log entry: at least one.
fn fitting(plans: &[Plan]) -> usize {
    let (mut ops, mut bytes) = (0, 0);
    let fits = |plan: &&Plan| {
        ops += plan.ops.len();
        bytes += plan.ops.iter().map(bytes_of).sum::<usize>() + plan.shape.extra_bytes();
        ops <= SEQUENCE_OPS && bytes <= SEQUENCE_BYTES
    };
    plans.iter().take_while(fits).count().max(1)
}

pub(super) fn bytes_of(op: &Op) -> usize {
    const OTHER_BYTES: usize = 32;
    let value = match op {
        Op::Put { value, .. } => value.bytes.len(),
        Op::Append { bytes, .. } | Op::SetRange { bytes, .. } => bytes.len(),
        Op::SetFields { fields, .. } => {
            fields.iter().map(|(name, value)| OTHER_BYTES + name.len() + value.len()).sum()
        }
        Op::Publish { message, .. } => message.len(),
        Op::DeleteFields { fields, .. } => fields.iter().map(|name| OTHER_BYTES + name.len()).sum(),
        Op::IncrField { field, .. } | Op::IncrFieldDecimal { field, .. } => field.len(),
        _ => 0,
    };
    OTHER_BYTES + op.key().as_str().len() + value
}

/// The replies of plans in one log entry, and its index.
async fn sequence(session: &Session, plans: &[Plan]) -> Result<(Vec<Reply>, u64), Reply> {
    // Only what removes keys is worth taking apart: each key by itself is all that Redis' clients know of it, too.
    if let [plan @ Plan { shape: Shape::Removed, .. }] = plans
        && (plan.ops.len() > SEQUENCE_OPS_MAX
            || plan.ops.iter().map(bytes_of).sum::<usize>() > LARGE_SEQUENCE_BYTES)
    {
        return remove_many(session, plan).await;
    }
    let ops: Vec<Op> = plans.iter().flat_map(|plan| plan.ops.iter().cloned()).collect();
    if ops.len() > SEQUENCE_OPS_MAX {
        return Err(too_large());
    }
    let written = session.write(Command::Sequence { guards: Vec::new(), ops }).await;
    let Written { outcome, now_ms, index, .. } = written.map_err(|error| of_node(&error.error))?;
    Ok((reply(plans, &results(outcome), now_ms), index))
}

/// Removes more keys than one log entry names.
async fn remove_many(session: &Session, plan: &Plan) -> Result<(Vec<Reply>, u64), Reply> {
    let (mut done, mut applied) = (Vec::with_capacity(plan.ops.len()), 0);
    while done.len() < plan.ops.len() {
        let rest = &plan.ops[done.len()..];
        let mut bytes = 0;
        let fits = |op: &&Op| {
            bytes += bytes_of(op);
            bytes <= LARGE_SEQUENCE_BYTES
        };
        let ops: Vec<Op> = rest.iter().take(SEQUENCE_OPS_MAX).take_while(fits).cloned().collect();
        match session.write(Command::Sequence { guards: Vec::new(), ops }).await {
            Ok(written) => {
                applied = written.index;
                done.extend(results(written.outcome));
            }
            Err(error) if done.is_empty() => return Err(of_node(&error.error)),
            Err(error) => {
                let count = done.len();
                let failed = format!(
                    "OUTCOMEUNKNOWN only the first {count} keys are known to be gone: {}",
                    error.error
                );
                return Err(Reply::error(failed));
            }
        }
    }
    Ok((vec![plan.shape.reply(&done, 0)], applied))
}

/// The first of these plans, which only read, at one moment, not before this index: as many as fit, at least one.
async fn read(
    session: &Session,
    answers: &AnswerMemory,
    plans: &[Plan],
    applied: Option<u64>,
    touches: bool,
) -> Replies {
    let ops: Vec<&Op> = plans.iter().flat_map(|plan| &plan.ops).collect();
    if ops.is_empty() {
        return Replies { replies: reply(plans, &[], 0), permit: None, index: 0 };
    }
    let keys: Vec<Key> = ops.iter().map(|op| op.key().clone()).collect();
    let session = match applied {
        Some(_) => session.clone().with_consistency(Consistency::Stale).not_before(applied),
        None => session.clone(),
    };
    let is_use = |at: usize| touches && matches!(ops.get(at), Some(Op::Get { .. }));
    let ReadAt { value, now_ms, index, .. } = match session.get_many_as(&keys, is_use, VALUES_BYTES_MAX).await
    {
        Ok(read) => read,
        Err(error) => {
            let failed = of_node(&error.error);
            return Replies {
                replies: plans.iter().map(|plan| refused(plan, &failed)).collect(),
                permit: None,
                index: 0,
            };
        }
    };
    let done: Vec<Done> = ops.iter().zip(value).map(|(op, found)| Ok(seen(op, found))).collect();
    let (whole, bytes) = whole(plans, &done);
    if whole.is_empty() {
        // One command alone asks for too much.
        let replies = vec![Reply::error("ERR the answer is too large: ask for fewer keys at a time")];
        return Replies { replies, permit: None, index: 0 };
    }
    match answers.reserve(bytes) {
        Ok(permit) => Replies { replies: reply(whole, &done, now_ms), permit, index },
        Err(busy) => {
            let failed = Reply::error(format!("UNAVAILABLE nothing was done: {busy}"));
            Replies {
                replies: whole.iter().map(|plan| refused(plan, &failed)).collect(),
                permit: None,
                index: 0,
            }
        }
    }
}

/// The plans of which all operations are done and whose replies fit together, and how many bytes those take. The first one's fits.
fn whole<'a>(plans: &'a [Plan], done: &[Done]) -> (&'a [Plan], usize) {
    let (mut rest, mut count, mut bytes) = (done, 0, 0usize);
    for plan in plans {
        let Some((own, after)) = rest.split_at_checked(plan.ops.len()) else { break };
        let told = plan.shape.bytes_told(own);
        if count > 0 && bytes.saturating_add(told) as u64 > VALUES_BYTES_MAX {
            break;
        }
        (rest, count, bytes) = (after, count + 1, bytes + told);
    }
    (&plans[..count], bytes)
}

/// What an operation that only reads tells.
fn seen(op: &Op, found: Result<Found, Absence>) -> Outcome {
    match op {
        Op::Look { .. } => Outcome::Looked(found.ok().map(|Found { value, info: entry }| KeyInfo {
            bytes: value.bytes.len() as u64,
            kind: value.kind(),
            entry,
        })),
        _ => Outcome::Got(found.ok()),
    }
}

/// Each plan's reply, from its part of the results.
fn reply(plans: &[Plan], done: &[Done], now_ms: u64) -> Vec<Reply> {
    let mut rest = done;
    let mut replies = Vec::with_capacity(plans.len());
    for plan in plans {
        let (own, after) = rest.split_at(plan.ops.len().min(rest.len()));
        rest = after;
        replies.push(plan.shape.reply(own, now_ms));
    }
    replies
}

/// The reply of a plan that was not carried out, or of which that is not known.
fn refused(plan: &Plan, failed: &Reply) -> Reply {
    if plan.ops.is_empty() { plan.shape.reply(&[], 0) } else { failed.clone() }
}
