//! The commands between `MULTI` and `EXEC`.

use super::allowance::Allowance;
use super::composite::Composite;
use super::lua::{self, Ran, Script, TIME_MAX};
use super::plan::{Plan, Shape};
use super::reply::Reply;
use super::scratch::{Missing, Scratch};
use super::whole::{Asks, Whole};
use crate::cache::{Condition, Key};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Commands in a transaction, and bytes of their arguments.
const QUEUED_MAX: usize = 16_384;
const QUEUED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What a command takes beside its arguments.
const COMMAND_BYTES: usize = 256;
/// How long scripts of several clients are carried out together.
const TOGETHER_TIME: Duration = Duration::from_millis(50);

/// The copies after it was tried, and the reply, or what is missing for it.
pub(super) type Tried = (Scratch, Result<Reply, Missing>);

/// A transaction that was begun.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    queue: Vec<Queued>,
    bytes: usize,
    /// A command could not be queued, so none is carried out.
    pub is_broken: bool,
    /// The client's database before it.
    pub database: u8,
}

/// A command that waits.
#[derive(Debug)]
pub(super) enum Queued {
    Plan(Plan),
    Composite(Composite),
    Script(Arc<Script>),
    /// About all keys of a database.
    Whole(Whole),
    /// `INFO`, with its arguments.
    Info(Vec<Bytes>),
    /// Removes all keys of a database, or all.
    Flush(Option<u8>),
}

impl Transaction {
    /// One that has no commands yet.
    pub fn begin(database: u8) -> Self {
        Self { database, ..Self::default() }
    }

    /// Queues a command. False if there are too many.
    pub fn add(&mut self, queued: Queued, bytes: usize) -> bool {
        self.bytes += bytes + COMMAND_BYTES + queued.extra_bytes();
        self.queue.push(queued);
        let fits = self.queue.len() <= QUEUED_MAX && self.bytes <= QUEUED_BYTES_MAX;
        if !fits {
            self.is_broken = true;
            (self.queue, self.bytes) = (Vec::new(), 0);
        }
        fits
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many of its commands are about all keys.
    pub fn whole(&self) -> usize {
        self.queue.iter().filter(|queued| matches!(queued, Queued::Whole(_))).count()
    }

    /// How many of them tell all keys that match.
    pub fn listings(&self) -> usize {
        let tells = |queued: &&Queued| matches!(queued, Queued::Whole(Whole { asks: Asks::Keys(_), .. }));
        self.queue.iter().filter(tells).count()
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn queue(self) -> Vec<Queued> {
        self.queue
    }
}

impl From<Composite> for Queued {
    /// Where nothing has to be decided, it is operations of a log entry.
    fn from(composite: Composite) -> Self {
        match composite {
            Composite::PutAll { plan: Plan { ops, .. }, condition: Condition::Always } => {
                Self::Plan(Plan { ops, shape: Shape::AllStored })
            }
            composite => Self::Composite(composite),
        }
    }
}

impl Queued {
    /// Bytes that its reply may take beyond what the values and the command have.
    fn extra_bytes(&self) -> usize {
        match self {
            Self::Plan(plan) => plan.shape.extra_bytes(),
            _ => 0,
        }
    }

    /// The keys that it looks at.
    pub fn keys(&self) -> Vec<Key> {
        match self {
            Self::Plan(plan) => plan.ops.iter().map(|op| op.key().clone()).collect(),
            Self::Composite(composite) => composite.keys(),
            Self::Script(script) => script.names.clone(),
            Self::Whole(_) | Self::Info(_) | Self::Flush(_) => Vec::new(),
        }
    }

    /// The operations of a log entry that it is; `None` if it is more.
    pub fn into_plan(self) -> Option<Plan> {
        match self {
            Self::Plan(plan) => Some(plan),
            _ => None,
        }
    }

    /// Carries it out on copies. Only scripts have an end.
    fn carry_out(&self, mut scratch: Scratch, allowance: Allowance) -> (Scratch, Ran) {
        let done = match self {
            Self::Plan(plan) => scratch.carry_out(plan),
            Self::Composite(composite) => composite.carry_out(&mut scratch),
            Self::Script(script) => return lua::run(script, scratch, allowance),
            Self::Whole(_) => {
                let own = scratch.own();
                scratch.notes.push(own);
                // Its reply is known only once the transaction was carried out.
                Ok(Reply::Null)
            }
            // Those are known, or carried out in other ways.
            Self::Info(_) | Self::Flush(_) => Ok(Reply::Null),
        };
        (scratch, done.map_or_else(Ran::Missing, Ran::Done))
    }
}

/// Carries all of them out on copies, one after another. What is no script may compute for longer.
pub(super) fn carry_out(queue: &[Queued], mut scratch: Scratch, allowance: Allowance) -> Tried {
    let end = allowance.and(TIME_MAX);
    let mut replies = Vec::with_capacity(queue.len());
    for queued in queue {
        if end.is_used_up() {
            let refused = Reply::error("ERR nothing was done: the transaction computes for too long");
            return (scratch.forget_writes(), Ok(refused));
        }
        let (before, ran) = (scratch.writes(), queued.carry_out(scratch, allowance));
        scratch = ran.0;
        match ran.1 {
            Ran::Missing(missing) => return (scratch, Err(missing)),
            Ran::Done(reply) => replies.push(reply),
            Ran::Failed(reply) => {
                // Of what a script does that fails, nothing stays.
                scratch = if scratch.writes() > before { scratch.back_to(before) } else { scratch };
                replies.push(reply);
            }
        }
        scratch.ends.push(scratch.writes());
    }
    (scratch, Ok(Reply::Array(replies)))
}

/// Carries out scripts of several clients, at least one. The replies are those of the first ones, for which there was time; `left` of the
/// copies says which of them were not carried out, because they need more. With `loads`, what is missing is told instead.
pub(super) fn carry_out_first(queue: &[Queued], mut scratch: Scratch, loads: bool, until: Instant) -> Tried {
    let enough = Instant::now() + TOGETHER_TIME;
    let (mut replies, mut missing) = (Vec::with_capacity(queue.len()), Vec::new());
    for (at, queued) in queue.iter().enumerate() {
        if at > 0 && Instant::now() > enough {
            break;
        }
        let (before, ran) = (scratch.writes(), queued.carry_out(scratch, Allowance::of(TIME_MAX, until)));
        scratch = ran.0;
        let reply = match ran.1 {
            Ran::Done(reply) => reply,
            failed => {
                scratch = if scratch.writes() > before { scratch.back_to(before) } else { scratch };
                match failed {
                    Ran::Done(reply) | Ran::Failed(reply) => reply,
                    Ran::Missing(needed) => {
                        scratch.left.insert(at);
                        if let Missing::Keys(keys) = needed {
                            missing.extend(keys);
                        }
                        Reply::Null
                    }
                }
            }
        };
        replies.push(reply);
        scratch.ends.push(scratch.writes());
    }
    let done =
        if loads && !missing.is_empty() { Err(Missing::Keys(missing)) } else { Ok(Reply::Array(replies)) };
    (scratch, done)
}
