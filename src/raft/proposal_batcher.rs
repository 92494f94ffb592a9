//! Batches proposals. While one batch is being replicated, new proposals queue and form the next one, so many proposals
//! share the cost of a batch: a flush on each node and a dozen wake-ups.

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

/// How long a batch waits for the one before it. If links or disks are slower than that, several batches are in flight.
const BATCH_WAIT_MAX: Duration = Duration::from_millis(2);
/// Most proposals in a batch.
const BATCH_PROPOSALS_MAX: usize = 1_024;
/// About how many bytes of proposals may be pending. Each has a caller that waits, so this is reached only if Raft
/// hangs, for example on a disk that hangs: callers then give up, and new ones arrive.
const PENDING_BYTES_MAX: usize = 512 << 20;

/// The size of all proposals that were not yet handed to Raft. Clones share the counter.
#[derive(Clone, Default)]
pub struct PendingProposals(Arc<AtomicUsize>);

impl PendingProposals {
    /// Whether Raft has every proposal.
    pub fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Adds a proposal; false when too much is pending already.
    pub fn add(&self, bytes: usize) -> bool {
        let before = self.0.fetch_add(weight(bytes), Ordering::Relaxed);
        if before > PENDING_BYTES_MAX {
            self.remove(weight(bytes));
        }
        before <= PENDING_BYTES_MAX
    }

    fn remove(&self, weight: usize) {
        self.0.fetch_sub(weight, Ordering::Relaxed);
    }
}

/// About how many bytes of memory a pending proposal uses.
fn weight(bytes: usize) -> usize {
    bytes + 256
}

/// Accepts proposals. Cheap to clone; the task behind it ends with the last clone.
#[derive(Clone)]
pub(super) struct ProposalBatcher {
    queue: mpsc::UnboundedSender<QueuedProposal>,
    pending: PendingProposals,
}

struct QueuedProposal {
    proposal: Proposal,
    result: oneshot::Sender<ClientWriteResult<Types>>,
}

/// Sends a proposal's result to its caller. A batch is in flight until its last responder is dropped.
pub struct BatchResponder<T> {
    result: oneshot::Sender<T>,
    _batch: Option<Arc<OwnedSemaphorePermit>>,
}

impl<T: OptionalSend + 'static> Responder<Types, T> for BatchResponder<T> {
    fn on_complete(self, result: T) {
        // A caller that has given up no longer listens.
        let _ = self.result.send(result);
    }
}

impl ProposalBatcher {
    /// Starts the task that proposes batches to `raft`.
    pub fn start(raft: Raft<Types, Machine>, clock: Arc<LogClock>, pending: PendingProposals) -> Self {
        let (queue, queued) = mpsc::unbounded_channel();
        tokio::spawn(run(queued, raft, clock, pending.clone()));
        Self { queue, pending }
    }

    /// Queues a proposal. The receiver gets its result; the channel closes without one if Raft has stopped. Returns
    /// `None` if too much is pending already: nothing was proposed.
    pub fn propose(&self, proposal: Proposal) -> Option<oneshot::Receiver<ClientWriteResult<Types>>> {
        if !self.pending.add(proposal.body.len()) {
            return None;
        }
        let (result, receiver) = oneshot::channel();
        // If the task has ended, the sender is dropped, and the receiver learns that Raft has stopped.
        let _ = self.queue.send(QueuedProposal { proposal, result });
        Some(receiver)
    }
}

async fn run(
    mut queue: mpsc::UnboundedReceiver<QueuedProposal>,
    raft: Raft<Types, Machine>,
    clock: Arc<LogClock>,
    pending: PendingProposals,
) {
    let one_in_flight = Arc::new(Semaphore::new(1));
    let mut batch = Vec::new();
    loop {
        let permit = timeout(BATCH_WAIT_MAX, one_in_flight.clone().acquire_owned()).await;
        if queue.recv_many(&mut batch, BATCH_PROPOSALS_MAX).await == 0 {
            return;
        }
        let permit = permit.ok().and_then(Result::ok).map(Arc::new);
        let now_ms = clock.now_ms();
        let proposed = batch.iter().map(|queued| weight(queued.proposal.body.len())).sum();
        for QueuedProposal { mut proposal, result } in batch.drain(..) {
            // The caller has given up and has reported an unknown outcome, so it is correct, and cheaper, not to
            // propose.
            if result.is_closed() {
                continue;
            }
            // The proposal may have waited since it was stamped.
            proposal.at_ms = now_ms.unwrap_or(proposal.at_ms);
            let responder = BatchResponder { result, _batch: permit.clone() };
            if raft.client_write_ff(proposal, Some(responder)).await.is_err() {
                return;
            }
        }
        // Not before Raft has them: until then a commit notification can wait for these entries.
        pending.remove(proposed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_bytes_are_bounded() {
        let pending = PendingProposals::default();
        let mib = 1 << 20;
        let added = (0..10_000).take_while(|_| pending.add(mib)).count();
        assert!((511..=513).contains(&added), "{added} MiB");
        assert!(!pending.add(0), "still full");
        pending.remove(weight(mib));
        assert!(pending.add(mib), "one fits again");
        assert!(!pending.is_empty());
        pending.remove(added * weight(mib));
        assert!(pending.is_empty(), "a refused proposal is not counted");
    }
}
