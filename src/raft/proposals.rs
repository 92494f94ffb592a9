//! Proposals on their way into the log. Those that come while a batch is under way go together with the next one: what
//! a batch costs, a flush on each node and a dozen wake-ups, is then paid for many.

use super::clock::LogClock;
use super::machine::Machine;
use super::types::{Proposal, Types};
use openraft::raft::ClientWriteResult;
use openraft::raft::responder::Responder;
use openraft::{OptionalSend, Raft};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// How long a batch waits for the one before. Where links or disks are slower than that, several are under way.
const WAIT_MAX: Duration = Duration::from_millis(2);
/// Proposals in a batch.
const BATCH_MAX: usize = 1_024;

/// How many proposals wait to be passed on. Clones count the same ones.
#[derive(Clone, Default)]
pub struct Backlog(Arc<AtomicUsize>);

impl Backlog {
    /// Whether Raft has all that was proposed.
    pub fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn remove(&self, count: usize) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }
}

/// Takes proposals in. Cheap to clone; the last clone ends the task behind it.
#[derive(Clone)]
pub(super) struct Proposals {
    queue: mpsc::UnboundedSender<Waiting>,
    backlog: Backlog,
}

struct Waiting {
    proposal: Proposal,
    answer: oneshot::Sender<ClientWriteResult<Types>>,
}

/// Who waits for a proposal's result. The batch is under way as long as one of its answers is.
pub struct Answer<T> {
    to: oneshot::Sender<T>,
    _batch: Option<Arc<OwnedSemaphorePermit>>,
}

impl<T: OptionalSend + 'static> Responder<Types, T> for Answer<T> {
    fn on_complete(self, result: T) {
        // Whoever has given up does not want to know.
        let _ = self.to.send(result);
    }
}

impl Proposals {
    /// Starts to pass proposals on to `raft`.
    pub fn start(raft: Raft<Types, Machine>, clock: Arc<LogClock>, backlog: Backlog) -> Self {
        // Callers bound what is under way: they wait for their answers.
        let (queue, waiting) = mpsc::unbounded_channel();
        tokio::spawn(pass_on(waiting, raft, clock, backlog.clone()));
        Self { queue, backlog }
    }

    /// Proposes; the receiver hears what became of it. It hears nothing when Raft has stopped.
    pub fn propose(&self, proposal: Proposal) -> oneshot::Receiver<ClientWriteResult<Types>> {
        let (answer, answered) = oneshot::channel();
        self.backlog.add();
        // A task that has ended drops the answer, which says the same.
        if self.queue.send(Waiting { proposal, answer }).is_err() {
            self.backlog.remove(1);
        }
        answered
    }
}

async fn pass_on(
    mut queue: mpsc::UnboundedReceiver<Waiting>,
    raft: Raft<Types, Machine>,
    clock: Arc<LogClock>,
    backlog: Backlog,
) {
    let slot = Arc::new(Semaphore::new(1));
    let mut batch = Vec::new();
    loop {
        let taken = timeout(WAIT_MAX, slot.clone().acquire_owned()).await;
        if queue.recv_many(&mut batch, BATCH_MAX).await == 0 {
            return;
        }
        let under_way = taken.ok().and_then(Result::ok).map(Arc::new);
        let now_ms = clock.now_ms();
        let count = batch.len();
        for Waiting { mut proposal, answer } in batch.drain(..) {
            // It may have waited since it was stamped.
            proposal.at_ms = now_ms.unwrap_or(proposal.at_ms);
            let answer = Answer { to: answer, _batch: under_way.clone() };
            if raft.client_write_ff(proposal, Some(answer)).await.is_err() {
                return;
            }
        }
        // Only now: until Raft has them, they are what news of a commit can wait for.
        backlog.remove(count);
    }
}
