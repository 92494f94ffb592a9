//! One question for many reads: those that wait while a question is on its way are answered together by the next
//! one. A read may use an index only if it was asked for after the read began.

use super::forward::forward_read_index;
use super::start::Inner;
use crate::raft::ReadIndexError;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Reads that may wait for a round.
const WAITING_MAX: usize = 16_384;
/// How long one question may take.
const ROUND_LIMIT: Duration = Duration::from_secs(1);
/// How long the next question waits for the one before.
const NEXT_AFTER: Duration = Duration::from_millis(50);

/// An index, or why there is none: nothing was read.
pub(super) type Answer = Result<u64, NoIndex>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoIndex {
    /// Asking again may help.
    Unavailable(String),
    /// This node has stopped.
    Stopped(String),
}

type Waiter = oneshot::Sender<Answer>;

/// The queues of reads, one for each guarantee; tasks of the node take from them.
pub(super) struct ReadIndexQueue {
    linearizable: mpsc::Sender<Waiter>,
    lease: mpsc::Sender<Waiter>,
}

/// What the tasks take from.
pub(super) struct ReadIndexRounds {
    linearizable: mpsc::Receiver<Waiter>,
    lease: mpsc::Receiver<Waiter>,
}

impl ReadIndexQueue {
    pub fn new() -> (Self, ReadIndexRounds) {
        let (linearizable, for_linearizable) = mpsc::channel(WAITING_MAX);
        let (lease, for_lease) = mpsc::channel(WAITING_MAX);
        (Self { linearizable, lease }, ReadIndexRounds { linearizable: for_linearizable, lease: for_lease })
    }

    /// An index asked for after this call began.
    pub async fn ask(&self, lease: bool) -> Answer {
        let (answer, answered) = oneshot::channel();
        let queue = if lease { &self.lease } else { &self.linearizable };
        if queue.try_send(answer).is_err() {
            return Err(NoIndex::Unavailable("too many reads wait for the leader".into()));
        }
        let stopping = || Err(NoIndex::Unavailable("the node is stopping".into()));
        answered.await.unwrap_or_else(|_| stopping())
    }
}

impl ReadIndexRounds {
    /// Asks round after round until the node is gone.
    pub async fn run(self, inner: Weak<Inner>) {
        tokio::join!(rounds(self.linearizable, false, &inner), rounds(self.lease, true, &inner));
    }
}

async fn rounds(mut queue: mpsc::Receiver<Waiter>, lease: bool, inner: &Weak<Inner>) {
    let mut slow = JoinSet::new();
    let mut waiters = Vec::new();
    while queue.recv_many(&mut waiters, WAITING_MAX).await > 0 {
        let Some(inner) = inner.upgrade() else { return };
        let mut round = Box::pin(answer(inner, lease, std::mem::take(&mut waiters)));
        // A question that hangs holds up those who asked it, and nobody else.
        if timeout(NEXT_AFTER, &mut round).await.is_err() {
            slow.spawn(round);
        }
        while slow.try_join_next().is_some() {}
    }
}

async fn answer(inner: Arc<Inner>, lease: bool, waiters: Vec<Waiter>) {
    let late = || Err(NoIndex::Unavailable("no majority confirmed the read in time".into()));
    let answer = timeout(ROUND_LIMIT, ask_once(&inner, lease)).await.unwrap_or_else(|_| late());
    for waiter in waiters {
        let _ = waiter.send(answer.clone());
    }
}

/// Asks this node's own part when it leads, else the leader.
async fn ask_once(inner: &Inner, lease: bool) -> Answer {
    if inner.consensus.is_leader() {
        match inner.consensus.read_index(lease).await {
            Ok(index) => return Ok(index),
            Err(ReadIndexError::Stopped(reason)) => return Err(NoIndex::Stopped(reason)),
            Err(error @ ReadIndexError::NoQuorum) => return Err(NoIndex::Unavailable(error.to_string())),
            Err(ReadIndexError::NotLeader { .. }) => {}
        }
    }
    let answer = match inner.consensus.leader() {
        Some(leader) => forward_read_index(inner, leader, lease, ROUND_LIMIT).await,
        None => Err("the cluster has no leader at the moment".into()),
    };
    answer.map_err(NoIndex::Unavailable)
}
