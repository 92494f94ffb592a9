//! One question to the leader for many reads: those that wait while a question is on its way are answered
//! together by the next one. A read may use an index only if it was asked for after the read began.

use super::forward::forward_read_index;
use super::start::Inner;
use std::sync::Weak;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Reads that may wait for a round.
const WAITING_MAX: usize = 16_384;
/// How long one question may take.
const ROUND_LIMIT: Duration = Duration::from_secs(1);

pub(super) type Answer = Result<u64, String>;

struct Waiter {
    lease: bool,
    answer: oneshot::Sender<Answer>,
}

/// The queue of reads; a task of the node takes from it.
pub(super) struct ReadIndexQueue {
    queue: mpsc::Sender<Waiter>,
}

/// What the task takes from.
pub(super) struct ReadIndexRounds(mpsc::Receiver<Waiter>);

impl ReadIndexQueue {
    pub fn new() -> (Self, ReadIndexRounds) {
        let (queue, waiters) = mpsc::channel(WAITING_MAX);
        (Self { queue }, ReadIndexRounds(waiters))
    }

    /// An index asked of the leader after this call began.
    pub async fn ask(&self, lease: bool) -> Answer {
        let (answer, answered) = oneshot::channel();
        if self.queue.try_send(Waiter { lease, answer }).is_err() {
            return Err("too many reads wait for the leader".into());
        }
        answered.await.unwrap_or_else(|_| Err("the node is stopping".into()))
    }
}

impl ReadIndexRounds {
    /// Asks round after round until the node is gone.
    pub async fn run(mut self, inner: Weak<Inner>) {
        let mut waiters = Vec::new();
        while self.0.recv_many(&mut waiters, WAITING_MAX).await > 0 {
            let Some(inner) = inner.upgrade() else { return };
            // One that wants the stronger guarantee gives it to all.
            let lease = waiters.iter().all(|waiter| waiter.lease);
            let answer = match inner.consensus.leader() {
                Some(leader) => forward_read_index(&inner, leader, lease, ROUND_LIMIT).await,
                None => Err("the cluster has no leader at the moment".into()),
            };
            for waiter in waiters.drain(..) {
                let _ = waiter.answer.send(answer.clone());
            }
        }
    }
}
