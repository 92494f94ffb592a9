//! Finds the index that a read must wait for, in rounds: reads that arrive while a round cannot start yet share the next
//! one. A read may use an index only if its round started after the read did.
//!
//! Where a round takes microseconds, the next one starts when it ends, and many reads share it. Where it takes
//! milliseconds, several are in flight, so that a read need not wait for one that started before it.

use super::forward::forward_read_index;
use super::inner::Inner;
use super::leadership::AskedVoters;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};

/// Most reads that wait for a round.
const WAITING_MAX: usize = 16_384;
/// Timeout of one round.
const ROUND_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a round may delay the next one, so that one that hangs delays only its own reads.
const NEXT_AFTER: Duration = Duration::from_millis(50);
/// If a round takes less than this, one is in flight.
const LONG_ROUND: Duration = Duration::from_millis(1);
/// Otherwise one is in flight for each of these that a round takes, up to the most.
const ROUND_INTERVAL: Duration = Duration::from_micros(250);
const ROUNDS_MAX: u128 = 32;
/// A round that so many reads share asks no more voters than it needs at first: then there is so much to do that it is better to
/// send less than to have the soonest of two answers.
const READS_TO_ASK_FEW: usize = 3;
/// How many of the latest rounds tell how long a round takes.
const ROUNDS_REMEMBERED: usize = 32;

/// An index, or why there is none: nothing was read.
pub(super) type ReadIndexResult = Result<u64, ReadIndexFailure>;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReadIndexFailure {
    /// The node that was asked does not lead. A retry may help.
    #[error("{0}")]
    NotLeader(String),
    /// A retry may help.
    #[error("{0}")]
    Unavailable(String),
    /// This node has stopped.
    #[error("{0}")]
    Stopped(String),
}

type Waiter = oneshot::Sender<ReadIndexResult>;

/// The sending ends of the queues of reads, one queue for each consistency level.
pub(super) struct ReadIndexQueue {
    linearizable: mpsc::Sender<Waiter>,
    lease: mpsc::Sender<Waiter>,
    #[cfg(feature = "sabotage")]
    old: std::sync::Mutex<Option<(Instant, u64)>>,
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
        let queue = Self {
            linearizable,
            lease,
            #[cfg(feature = "sabotage")]
            old: std::sync::Mutex::default(),
        };
        (queue, ReadIndexRounds { linearizable: for_linearizable, lease: for_lease })
    }

    /// Returns an index that was requested after this call started.
    pub async fn ask(&self, lease: bool) -> ReadIndexResult {
        #[cfg(feature = "sabotage")]
        if let Some(index) = self.old_confirmation() {
            return Ok(index);
        }
        let result = self.ask_now(lease).await;
        #[cfg(feature = "sabotage")]
        if let Ok(index) = result {
            *self.old.lock().expect("no panic while held") = Some((Instant::now(), index));
        }
        result
    }

    /// A fault for the consistency tests: an index that was confirmed before this read.
    #[cfg(feature = "sabotage")]
    fn old_confirmation(&self) -> Option<u64> {
        use crate::sabotage::{CONFIRMATION_KEPT_MS, Sabotage};
        let kept = Duration::from_millis(CONFIRMATION_KEPT_MS);
        let (at, index) = (*self.old.lock().expect("no panic while held"))?;
        (Sabotage::OldConfirmation.is_chosen() && at.elapsed() < kept).then_some(index)
    }

    async fn ask_now(&self, lease: bool) -> ReadIndexResult {
        let (answer, answered) = oneshot::channel();
        let queue = if lease { &self.lease } else { &self.linearizable };
        if queue.try_send(answer).is_err() {
            return Err(ReadIndexFailure::Unavailable("too many reads wait for the leader".into()));
        }
        let stopping = || Err(ReadIndexFailure::Unavailable("the node is stopping".into()));
        answered.await.unwrap_or_else(|_| stopping())
    }
}

impl Inner {
    /// Every read has an answer after this time, whatever happens.
    pub(super) fn read_index_timeout(&self) -> Duration {
        NEXT_AFTER + self.consensus.timing().limit(ROUND_TIMEOUT)
    }
}

impl ReadIndexRounds {
    /// Runs rounds until the node is dropped.
    pub async fn run(self, inner: Weak<Inner>) {
        tokio::join!(rounds(self.linearizable, false, &inner), rounds(self.lease, true, &inner));
    }
}

/// How long the latest rounds took that brought an index.
#[derive(Debug)]
struct RoundTimes {
    latest: VecDeque<Duration>,
    /// How many rounds may be in flight.
    in_flight_max: usize,
}

impl RoundTimes {
    fn new() -> Self {
        Self { latest: VecDeque::with_capacity(ROUNDS_REMEMBERED), in_flight_max: 1 }
    }

    /// Judges by the shortest one, because others also waited for a busy processor, and more rounds would keep it busier still.
    fn note(&mut self, took: Duration) {
        self.latest.truncate(ROUNDS_REMEMBERED - 1);
        self.latest.push_front(took);
        let shortest = self.latest.iter().min().copied().unwrap_or_default();
        let rounds = shortest.as_micros() / ROUND_INTERVAL.as_micros();
        let is_short = shortest < LONG_ROUND;
        self.in_flight_max = if is_short { 1 } else { usize::try_from(rounds.min(ROUNDS_MAX)).unwrap_or(1) };
    }
}

async fn rounds(mut queue: mpsc::Receiver<Waiter>, lease: bool, inner: &Weak<Inner>) {
    let mut times = RoundTimes::new();
    let mut in_flight = FuturesUnordered::new();
    let mut next_at = Instant::now();
    let mut waiters = Vec::new();
    loop {
        let may_start = in_flight.len() < times.in_flight_max || Instant::now() >= next_at;
        tokio::select! {
            biased;
            Some(took) = in_flight.next() => {
                if let Some(took) = took {
                    times.note(took);
                }
            }
            received = queue.recv_many(&mut waiters, WAITING_MAX), if may_start => {
                if received > 0 && times.in_flight_max == 1 {
                    // Those whose requests are here already share it. The first of many would have a round of its own.
                    yield_now().await;
                    let more = WAITING_MAX - waiters.len();
                    waiters.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(more));
                }
                let Some(inner) = inner.upgrade().filter(|_| received > 0) else { return };
                in_flight.push(round(inner, lease, std::mem::take(&mut waiters)));
                next_at = Instant::now() + NEXT_AFTER;
            }
            () = sleep_until(next_at), if !may_start => {}
        }
    }
}

/// Finds an index for these reads. Returns how long it took, if there is one.
async fn round(inner: Arc<Inner>, lease: bool, waiters: Vec<Waiter>) -> Option<Duration> {
    let started = Instant::now();
    let late = || Err(ReadIndexFailure::Unavailable("no majority confirmed the read in time".into()));
    let limit = inner.consensus.timing().limit(ROUND_TIMEOUT);
    let asked = if waiters.len() < READS_TO_ASK_FEW { AskedVoters::All } else { AskedVoters::FewFirst };
    let answer = timeout(limit, find_index(&inner, lease, asked, limit)).await.unwrap_or_else(|_| late());
    let took = answer.is_ok().then(|| started.elapsed());
    for waiter in waiters {
        let _ = waiter.send(answer.clone());
    }
    took
}

/// Finds it on this node if it leads, otherwise asks the leader.
async fn find_index(inner: &Inner, lease: bool, asked: AskedVoters, limit: Duration) -> ReadIndexResult {
    if inner.consensus.is_leader() {
        match own_index(inner, lease, asked).await {
            Err(ReadIndexFailure::NotLeader(_)) => {}
            result => return result,
        }
    }
    match inner.consensus.leader() {
        Some(leader) if leader != inner.identity.node_id => {
            forward_read_index(inner, leader, lease, limit).await
        }
        _ => match inner.consensus.failure() {
            Some(reason) => Err(ReadIndexFailure::Stopped(reason)),
            None => Err(ReadIndexFailure::Unavailable("the cluster has no leader at the moment".into())),
        },
    }
}

/// Finds it as the leader. Without a valid lease, a majority is asked instead.
async fn own_index(inner: &Inner, lease: bool, asked: AskedVoters) -> ReadIndexResult {
    if lease && let Some(index) = inner.lease_index() {
        return Ok(index);
    }
    inner.confirmed_index(asked).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_rounds_overlap_and_short_ones_do_not() {
        let mut times = RoundTimes::new();
        assert_eq!(times.in_flight_max, 1, "nothing is known yet");
        let mut after = |millis: f64| {
            for _ in 0..ROUNDS_REMEMBERED {
                times.note(Duration::from_secs_f64(millis / 1_000.0));
            }
            times.note(Duration::from_secs(1));
            times.in_flight_max
        };
        assert_eq!(after(0.1), 1);
        assert_eq!(after(2.0), 8);
        assert_eq!(after(200.0), 32, "there is a bound");
        assert_eq!(after(1.0), 4, "the earlier rounds are forgotten");
        assert_eq!(after(0.9), 1);
    }
}
