//! The commands between `MULTI` and `EXEC`.

use super::composite::Composite;
use super::plan::Plan;
use super::reply::Reply;
use super::scratch::{Missing, Scratch};
use crate::cache::Key;

/// Commands in a transaction, and bytes of their arguments.
const QUEUED_MAX: usize = 16_384;
const QUEUED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What a command takes beside its arguments.
const COMMAND_BYTES: usize = 256;

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

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn queue(self) -> Vec<Queued> {
        self.queue
    }
}

impl Queued {
    /// Bytes that its reply may take beyond what the values and the command have.
    fn extra_bytes(&self) -> usize {
        match self {
            Self::Plan(plan) => plan.shape.extra_bytes(),
            Self::Composite(_) => 0,
        }
    }

    /// The keys that it looks at.
    pub fn keys(&self) -> Vec<Key> {
        match self {
            Self::Plan(plan) => plan.ops.iter().map(|op| op.key().clone()).collect(),
            Self::Composite(composite) => composite.keys(),
        }
    }

    /// Carries it out on copies.
    pub fn carry_out(&self, scratch: &mut Scratch) -> Result<Reply, Missing> {
        match self {
            Self::Plan(plan) => scratch.carry_out(plan),
            Self::Composite(composite) => composite.carry_out(scratch),
        }
    }

    /// As a plan; a composite has none.
    pub fn into_plan(self) -> Plan {
        match self {
            Self::Plan(plan) => plan,
            Self::Composite(_) => Plan::known(Reply::error("ERR it is carried out by itself")),
        }
    }
}
