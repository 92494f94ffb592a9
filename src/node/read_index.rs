//! Batches read-index requests: reads that start while a request is in flight share the next one. A read may use an
//! index only if it was requested after the read started.

use super::forward::forward_read_index;
use super::inner::Inner;
use crate::raft::ReadIndexError;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Most reads that wait for a round.
const WAITING_MAX: usize = 16_384;
/// Timeout of one round.
const ROUND_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a round waits for the one before it.
const NEXT_AFTER: Duration = Duration::from_millis(50);

/// An index, or why there is none: nothing was read.
pub(super) type ReadIndexResult = Result<u64, ReadIndexFailure>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReadIndexFailure {
    /// A retry may help.
    Unavailable(String),
    /// This node has stopped.
    Stopped(String),
}

type Waiter = oneshot::Sender<ReadIndexResult>;

/// The sending ends of the queues of reads, one queue for each consistency level.
pub(super) struct ReadIndexQueue {
    linearizable: mpsc::Sender<Waiter>,
    lease: mpsc::Sender<Waiter>,
}

/// The receiving ends of these queues.
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

    /// Returns an index that was requested after this call started.
    pub async fn ask(&self, lease: bool) -> ReadIndexResult {
        let (answer, answered) = oneshot::channel();
        let queue = if lease { &self.lease } else { &self.linearizable };
        if queue.try_send(answer).is_err() {
            return Err(ReadIndexFailure::Unavailable("too many reads wait for the leader".into()));
        }
        let stopping = || Err(ReadIndexFailure::Unavailable("the node is stopping".into()));
        answered.await.unwrap_or_else(|_| stopping())
    }
}

impl ReadIndexRounds {
    /// Runs rounds until the node is dropped.
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
        // A round that hangs delays only its own reads.
        if timeout(NEXT_AFTER, &mut round).await.is_err() {
            slow.spawn(round);
        }
        while slow.try_join_next().is_some() {}
    }
}

async fn answer(inner: Arc<Inner>, lease: bool, waiters: Vec<Waiter>) {
    let late = || Err(ReadIndexFailure::Unavailable("no majority confirmed the read in time".into()));
    let answer = timeout(ROUND_TIMEOUT, ask_once(&inner, lease)).await.unwrap_or_else(|_| late());
    for waiter in waiters {
        let _ = waiter.send(answer.clone());
    }
}

/// Asks Raft on this node if it leads, otherwise the leader.
async fn ask_once(inner: &Inner, lease: bool) -> ReadIndexResult {
    if inner.consensus.is_leader() {
        match inner.consensus.read_index(lease).await {
            Ok(index) => return Ok(index),
            Err(ReadIndexError::Stopped(reason)) => return Err(ReadIndexFailure::Stopped(reason)),
            Err(error @ ReadIndexError::NoQuorum) => {
                return Err(ReadIndexFailure::Unavailable(error.to_string()));
            }
            Err(ReadIndexError::NotLeader { .. }) => {}
        }
    }
    let answer = match inner.consensus.leader() {
        Some(leader) => forward_read_index(inner, leader, lease, ROUND_TIMEOUT).await,
        None => Err("the cluster has no leader at the moment".into()),
    };
    answer.map_err(ReadIndexFailure::Unavailable)
}
