//! Limits of watchers: how many there are at a time, and how many bytes of large changes are being sent to slow ones.
//!
//! For each watcher a node holds a page of changes and the text of one change. Both are small, unless one request wrote a
//! large change. So watchers are counted, and large changes share a limit in bytes.

use super::Busy;
use super::client_address::{ClientAddress, Shares};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

const WATCHERS_MAX: u32 = 1_024;
/// Bytes of the large changes that are being sent. Their texts are longer: a control character becomes six bytes.
const SEND_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a large change waits to be sent. Then its watch is closed, so that its client knows.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a watcher waits for the room of another that is cut for it.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);
/// The unit in which bytes are counted: a semaphore takes at most 2^32 permits at a time.
const UNIT_BYTES: usize = 1_024;

/// The watchers of a node.
#[derive(Debug, Clone)]
pub struct Watchers {
    permits: Arc<Semaphore>,
    max: u32,
    shares: Arc<Mutex<Shares>>,
    sending: Arc<Semaphore>,
    closed: Arc<AtomicU64>,
    low: Arc<Mutex<LowWatchers>>,
}

/// Whether a watcher makes room for others when there are too many. A client can only lower its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    Normal,
    Low,
}

/// The watchers of low priority that were not asked to go yet, in the order in which they came.
#[derive(Debug, Default)]
struct LowWatchers {
    watchers: BTreeMap<u64, Arc<Notify>>,
    next: u64,
}

impl Watchers {
    /// At most half of the connections watch, so that some are left for other requests.
    pub fn new(connections: usize) -> Self {
        let max = u32::try_from(connections / 2).unwrap_or(WATCHERS_MAX).clamp(1, WATCHERS_MAX);
        let sending = Arc::new(Semaphore::new(SEND_BYTES_MAX / UNIT_BYTES));
        let permits = Arc::new(Semaphore::new(max as usize));
        Self { permits, max, shares: Arc::default(), sending, closed: Arc::default(), low: Arc::default() }
    }

    /// A permit for one more watcher. If there are too many, one of normal priority takes the place of one of low priority, the
    /// newest of them.
    ///
    /// # Errors
    /// [`Busy`]: there are too many, or too many from this address.
    pub async fn admit(&self, client: ClientAddress, priority: Priority) -> Result<WatchPermit, Busy> {
        const TOO_MANY: Busy = Busy("too many clients watch this node");
        // Before another is cut for it.
        if !self.shares.lock().expect("no panic while held").take(client, self.max) {
            return Err(Busy("too many of those who watch this node have your address"));
        }
        let share = Share { shares: self.shares.clone(), client };
        let permit = match self.permits.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                if priority == Priority::Low || !self.withdraw_one() {
                    return Err(TOO_MANY);
                }
                let freed = timeout(CUT_TIMEOUT, self.permits.clone().acquire_owned()).await;
                freed.ok().and_then(Result::ok).ok_or(TOO_MANY)?
            }
        };
        let (sending, closed) = (self.sending.clone(), self.closed.clone());
        let low = (priority == Priority::Low).then(|| self.enlist());
        Ok(WatchPermit { _permit: permit, _share: share, sending, closed, low })
    }

    fn enlist(&self) -> Enlisted {
        let mut low = self.low.lock().expect("no panic while held");
        let (number, withdrawn) = (low.next, Arc::new(Notify::new()));
        low.next += 1;
        low.watchers.insert(number, withdrawn.clone());
        Enlisted { low: self.low.clone(), number, withdrawn }
    }

    /// Asks a watcher of low priority to go; false if there is none.
    fn withdraw_one(&self) -> bool {
        let newest = self.low.lock().expect("no panic while held").watchers.pop_last();
        newest.is_some_and(|(_, withdrawn)| {
            withdrawn.notify_one();
            true
        })
    }

    /// Watchers at the moment.
    pub fn count(&self) -> u64 {
        (self.max as usize).saturating_sub(self.permits.available_permits()) as u64
    }

    /// Watches that the node has closed.
    pub fn closed(&self) -> u64 {
        self.closed.load(Relaxed)
    }
}

/// What a watcher counts against its address.
struct Share {
    shares: Arc<Mutex<Shares>>,
    client: ClientAddress,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.lock().expect("no panic while held").give_back(self.client);
    }
}

/// The right to watch, until it is dropped.
pub struct WatchPermit {
    _permit: OwnedSemaphorePermit,
    _share: Share,
    sending: Arc<Semaphore>,
    closed: Arc<AtomicU64>,
    low: Option<Enlisted>,
}

/// A watcher of low priority in the list of them.
struct Enlisted {
    low: Arc<Mutex<LowWatchers>>,
    number: u64,
    withdrawn: Arc<Notify>,
}

impl Drop for Enlisted {
    fn drop(&mut self) {
        self.low.lock().expect("no panic while held").watchers.remove(&self.number);
    }
}

/// The right to send a large change, until it is dropped.
pub struct SendPermit {
    _permit: OwnedSemaphorePermit,
}

impl WatchPermit {
    /// Counts that the node closes this watch.
    pub fn note_closed(&self) {
        self.closed.fetch_add(1, Relaxed);
    }

    /// Returns once this watcher has to make room for another.
    pub async fn withdrawn(&self) {
        match &self.low {
            Some(enlisted) => enlisted.withdrawn.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Waits until a change of this many bytes can be sent; `None` if others are in the way for too long. A change that is
    /// larger than the limit takes all of it.
    pub async fn send_permit(&self, bytes: usize) -> Option<SendPermit> {
        let units = bytes.min(SEND_BYTES_MAX).div_ceil(UNIT_BYTES);
        let permit = self.sending.clone().acquire_many_owned(units.try_into().ok()?);
        timeout(SEND_TIMEOUT, permit).await.ok()?.ok().map(|permit| SendPermit { _permit: permit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn large_changes_share_a_limit() {
        let watchers = Watchers::new(8);
        let client = ClientAddress::new([127, 0, 0, 1].into());
        let admit = async || watchers.admit(client, Priority::Normal).await.ok().unwrap();
        let (one, other) = (admit().await, admit().await);
        let half = one.send_permit(SEND_BYTES_MAX / 2).await.unwrap();
        let rest = other.send_permit(SEND_BYTES_MAX / 2).await.unwrap();
        assert!(one.send_permit(1).await.is_none(), "it is full, and stays so");
        drop(half);
        let waiting = other.send_permit(10 * SEND_BYTES_MAX);
        tokio::pin!(waiting);
        assert!(timeout(SEND_TIMEOUT / 2, &mut waiting).await.is_err(), "half of it is free");
        drop(rest);
        assert!(waiting.await.is_some(), "whatever its size, a change is sent");
    }

    #[tokio::test(start_paused = true)]
    async fn none_is_cut_for_one_that_is_refused() {
        let watchers = Watchers::new(8);
        let of = |last, priority| watchers.admit(ClientAddress::new([10, 0, 0, last].into()), priority);
        let mut greedy = Vec::new();
        for _ in 0..3 {
            greedy.push(of(1, Priority::Normal).await.ok().unwrap());
        }
        let low = of(2, Priority::Low).await.ok().unwrap();
        let refused = of(1, Priority::Normal).await.err().unwrap();
        assert!(refused.0.contains("your address"));
        assert!(timeout(CUT_TIMEOUT, low.withdrawn()).await.is_err(), "it is not cut");
        assert!(of(3, Priority::Low).await.is_err());
        drop(greedy.pop());
        assert!(of(1, Priority::Normal).await.is_ok(), "a refusal takes nothing from a share");
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_low_priority_makes_room() {
        let watchers = Watchers::new(8);
        let of = |last, priority| watchers.admit(ClientAddress::new([10, 0, 0, last].into()), priority);
        let first = of(1, Priority::Low).await.ok().unwrap();
        let second = of(2, Priority::Low).await.ok().unwrap();
        let _third = of(3, Priority::Normal).await.ok().unwrap();
        let _fourth = of(4, Priority::Normal).await.ok().unwrap();
        assert!(of(5, Priority::Low).await.is_err(), "none goes for one of the same priority");

        let (admitted, ()) = tokio::join!(of(5, Priority::Normal), async {
            second.withdrawn().await;
            drop(second);
        });
        let _fifth = admitted.ok().unwrap();
        // It is asked to go, and does not.
        assert!(of(6, Priority::Normal).await.is_err());
        first.withdrawn().await;
        assert!(of(6, Priority::Normal).await.is_err(), "nobody is asked twice");
        drop(first);
        assert!(of(6, Priority::Normal).await.is_ok());
    }
}
