//! Proposals on their way into the log. Those that come while a batch is under way go together with the next one: what
//! a batch costs, a flush on each node and a dozen wake-ups, is then paid for many.

use super::machine::Machine;
use super::types::Types;
use crate::replica::{LogClock, Proposal};
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
/// Bytes of proposals that wait, about. Callers wait with them, so it is never reached, except while Raft hangs, say on
/// a disk that hangs: they give up then, and others come.
const BACKLOG_MAX: usize = 512 << 20;

/// What the proposals that wait to be passed on weigh. Clones weigh the same ones.
#[derive(Clone, Default)]
pub struct Backlog(Arc<AtomicUsize>);

impl Backlog {
    /// Whether Raft has all that was proposed.
    pub fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Counts a proposal in, unless too much waits.
    pub fn add(&self, bytes: usize) -> bool {
        let before = self.0.fetch_add(weight(bytes), Ordering::Relaxed);
        if before > BACKLOG_MAX {
            self.remove(weight(bytes));
        }
        before <= BACKLOG_MAX
    }

    fn remove(&self, weight: usize) {
        self.0.fetch_sub(weight, Ordering::Relaxed);
    }
}

/// Bytes that a waiting proposal takes, about.
fn weight(bytes: usize) -> usize {
    bytes + 256
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
        let (queue, waiting) = mpsc::unbounded_channel();
        tokio::spawn(pass_on(waiting, raft, clock, backlog.clone()));
        Self { queue, backlog }
    }

    /// Proposes; the receiver hears what became of it. It hears nothing when Raft has stopped. `None` when too much
    /// waits already: nothing was proposed.
    pub fn propose(&self, proposal: Proposal) -> Option<oneshot::Receiver<ClientWriteResult<Types>>> {
        if !self.backlog.add(proposal.body.len()) {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        // A task that has ended drops the answer, which says the same.
        let _ = self.queue.send(Waiting { proposal, answer });
        Some(answered)
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
        let passed = batch.iter().map(|waiting| weight(waiting.proposal.body.len())).sum();
        for Waiting { mut proposal, answer } in batch.drain(..) {
            // Whoever has given up was told that the outcome is unknown. Not to propose is then the lighter one.
            if answer.is_closed() {
                continue;
            }
            // It may have waited since it was stamped.
            proposal.at_ms = now_ms.unwrap_or(proposal.at_ms);
            let answer = Answer { to: answer, _batch: under_way.clone() };
            if raft.client_write_ff(proposal, Some(answer)).await.is_err() {
                return;
            }
        }
        // Only now: until Raft has them, they are what news of a commit can wait for.
        backlog.remove(passed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded() {
        let backlog = Backlog::default();
        let mib = 1 << 20;
        let taken = (0..10_000).take_while(|_| backlog.add(mib)).count();
        assert!((511..=513).contains(&taken), "{taken} MiB");
        assert!(!backlog.add(0), "still full");
        backlog.remove(weight(mib));
        assert!(backlog.add(mib), "room for one again");
        assert!(!backlog.is_empty());
        backlog.remove(taken * weight(mib));
        assert!(backlog.is_empty(), "what was refused weighs nothing");
    }
}
