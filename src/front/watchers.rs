//! Limits of watchers: how many there are at a time, and how many bytes of large changes are being sent to slow ones.
//!
//! For each watcher a node holds a page of changes and the text of one change. Both are small, unless one request wrote a
//! large change. So watchers are counted, and large changes share a limit in bytes.

use super::Busy;
use super::client_address::{ClientAddress, Shares};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

const WATCHERS_MAX: u32 = 1_024;
/// Bytes of the large changes that are being sent. Their texts are longer: a control character becomes six bytes.
const SEND_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a large change waits to be sent. Then its watch is closed, so that its client knows.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
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
}

impl Watchers {
    /// At most half of the connections watch, so that some are left for other requests.
    pub fn new(connections: usize) -> Self {
        let max = u32::try_from(connections / 2).unwrap_or(WATCHERS_MAX).clamp(1, WATCHERS_MAX);
        let sending = Arc::new(Semaphore::new(SEND_BYTES_MAX / UNIT_BYTES));
        let permits = Arc::new(Semaphore::new(max as usize));
        Self { permits, max, shares: Arc::default(), sending, closed: Arc::default() }
    }

    /// A permit for one more watcher.
    ///
    /// # Errors
    /// [`Busy`]: there are too many, or too many from this address.
    pub fn admit(&self, client: ClientAddress) -> Result<WatchPermit, Busy> {
        let permit = self.permits.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Busy("too many clients watch this node"))?;
        if !self.shares.lock().expect("no panic while held").take(client, self.max) {
            return Err(Busy("too many of those who watch this node have your address"));
        }
        let share = Share { shares: self.shares.clone(), client };
        let (sending, closed) = (self.sending.clone(), self.closed.clone());
        Ok(WatchPermit { _permit: permit, _share: share, sending, closed })
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
        let admit = || watchers.admit(ClientAddress::new([127, 0, 0, 1].into())).ok().unwrap();
        let (one, other) = (admit(), admit());
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
}
