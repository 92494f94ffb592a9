//! Batches proposals. While one batch is being replicated, new proposals queue and form the next one, so many proposals
//! share the cost of a batch: a flush on each node and a dozen wake-ups. On links with a long round trip several batches
//! are in flight, so that a proposal need not wait for the batch before it.

use super::handover::Handover;
use super::machine::Machine;
use super::types::Types;
use crate::peer::RoundTrips;
use crate::replica::{LogClock, Proposal};
use openraft::raft::ClientWriteResult;
use openraft::raft::responder::Responder;
use openraft::{OptionalSend, Raft};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// How long a batch waits for one before it. If disks are slower than that, more batches are in flight.
const BATCH_WAIT_MAX: Duration = Duration::from_millis(2);
/// If the answers of a majority take less than this, one batch is in flight: on a busy machine answers take as long without
/// any network, and more batches would keep it busier still.
const ROUND_TRIP_MIN: Duration = Duration::from_millis(1);
/// Otherwise a batch is in flight for each of these that they take, up to the most.
const BATCH_INTERVAL: Duration = Duration::from_micros(250);
const BATCHES_MAX: u32 = 32;
/// Most proposals in a batch.
const BATCH_PROPOSALS_MAX: usize = 1_024;
/// About how many bytes of proposals may be pending. Each has a caller that waits, so this is reached only if Raft
/// hangs, for example on a disk that hangs: callers then give up, and new ones arrive.
const PENDING_BYTES_MAX: usize = 512 << 20;

/// The size of all proposals that were not yet handed to Raft. Clones share the counter.
#[derive(Clone, Default)]
pub struct PendingProposals(Arc<AtomicUsize>);

impl PendingProposals {
    /// About how many bytes of memory the pending proposals take.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed) as u64
    }

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
    pub fn start(
        raft: Raft<Types, Machine>,
        clock: Arc<LogClock>,
        pending: PendingProposals,
        round_trips: RoundTrips,
        handover: Handover,
    ) -> Self {
        let (queue, queued) = mpsc::unbounded_channel();
        tokio::spawn(run(queued, raft, clock, pending.clone(), round_trips, handover));
        Self { queue, pending }
    }

    /// About how many bytes of memory the pending proposals take.
    pub fn pending_bytes(&self) -> u64 {
        self.pending.bytes()
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
    round_trips: RoundTrips,
    handover: Handover,
) {
    // A batch takes as large a part of the permits as there may be batches in flight.
    let permits = Arc::new(Semaphore::new(BATCHES_MAX as usize));
    let mut batch = Vec::new();
    loop {
        let part = BATCHES_MAX / batches_in_flight_max(round_trips.of_a_majority());
        let permit = timeout(BATCH_WAIT_MAX, permits.clone().acquire_many_owned(part)).await;
        if queue.recv_many(&mut batch, BATCH_PROPOSALS_MAX).await == 0 {
            return;
        }
        let permit = permit.ok().and_then(Result::ok).map(Arc::new);
        let mut now_ms = clock.now_ms();
        let proposed = batch.iter().map(|queued| weight(queued.proposal.body.len())).sum();
        for QueuedProposal { mut proposal, result } in batch.drain(..) {
            if handover.is_under_way() {
                handover.over().await;
                now_ms = clock.now_ms();
            }
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

/// How many batches may be in flight if the answers of a majority take so long: 1 where they take microseconds.
fn batches_in_flight_max(round_trip: Duration) -> u32 {
    if round_trip < ROUND_TRIP_MIN {
        return 1;
    }
    let batches = round_trip.as_micros() / BATCH_INTERVAL.as_micros();
    u32::try_from(batches).unwrap_or(u32::MAX).clamp(1, BATCHES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_round_trips_are_filled_with_batches() {
        let in_flight = |micros| batches_in_flight_max(Duration::from_micros(micros));
        assert_eq!([0, 90, 999, 1_000, 2_000, 20_000].map(in_flight), [1, 1, 1, 4, 8, 32]);
    }

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
