//! How many may watch at a time, and how much may be on its way to slow ones.
//!
//! For a watcher a node holds a page of changes and the text of one, both small; only what one client wrote with one
//! request can be large. So places are counted, and large changes share a room that is bounded in bytes.

use super::client_address::{ClientAddress, Shares};
use super::respond::ApiError;
use crate::api::ErrorCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

const WATCHERS_MAX: u32 = 1_024;
/// Bytes of the large changes that are on their way. Their texts are longer: a control character becomes six.
const ROOM_BYTES: usize = 64 * 1024 * 1024;
/// How long a watcher waits for room. It is cut off then, rather than left without a word.
const ROOM_LIMIT: Duration = Duration::from_secs(5);
/// Room is counted in these, for a semaphore counts to 2^32 at a time.
const UNIT_BYTES: usize = 1_024;

/// Places for those who watch, and how many were sent away.
#[derive(Debug, Clone)]
pub(super) struct Watchers {
    places: Arc<Semaphore>,
    limit: u32,
    shares: Arc<Mutex<Shares>>,
    room: Arc<Semaphore>,
    cut: Arc<AtomicU64>,
}

impl Watchers {
    /// Of so many connections some are left for other requests.
    pub fn new(connections: usize) -> Self {
        let limit = u32::try_from(connections / 2).unwrap_or(WATCHERS_MAX).clamp(1, WATCHERS_MAX);
        let room = Arc::new(Semaphore::new(ROOM_BYTES / UNIT_BYTES));
        let places = Arc::new(Semaphore::new(limit as usize));
        Self { places, limit, shares: Arc::default(), room, cut: Arc::default() }
    }

    /// A place for one more, until it is dropped.
    ///
    /// # Errors
    /// `busy`.
    pub fn enter(&self, client: ClientAddress) -> Result<Entered, ApiError> {
        let busy = |reason| ApiError::new(ErrorCode::Busy, reason);
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| busy("too many clients watch this node"))?;
        if !self.shares.lock().expect("no panic while held").take(client, self.limit) {
            return Err(busy("too many of those who watch this node have your address"));
        }
        let share = Share { shares: self.shares.clone(), client };
        Ok(Entered { _place: place, _share: share, room: self.room.clone(), cut: self.cut.clone() })
    }

    /// How many watch now.
    pub fn now(&self) -> u64 {
        (self.limit as usize).saturating_sub(self.places.available_permits()) as u64
    }

    /// How many were sent away.
    pub fn cut(&self) -> u64 {
        self.cut.load(Relaxed)
    }
}

/// One place of a client's share, until it is dropped.
struct Share {
    shares: Arc<Mutex<Shares>>,
    client: ClientAddress,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.lock().expect("no panic while held").give_back(self.client);
    }
}

/// One that watches.
pub(super) struct Entered {
    _place: OwnedSemaphorePermit,
    _share: Share,
    room: Arc<Semaphore>,
    cut: Arc<AtomicU64>,
}

/// Room for a large change, until it is dropped.
pub(super) struct Room {
    _share: OwnedSemaphorePermit,
}

impl Entered {
    /// It is sent away.
    pub fn note_cut(&self) {
        self.cut.fetch_add(1, Relaxed);
    }

    /// Waits until a change of so many bytes may be sent, but not for ever: `None` when others hold the room for too
    /// long. One that is larger than all of it takes all of it.
    pub async fn room_for(&self, bytes: usize) -> Option<Room> {
        let units = bytes.min(ROOM_BYTES).div_ceil(UNIT_BYTES);
        let share = self.room.clone().acquire_many_owned(units.try_into().ok()?);
        timeout(ROOM_LIMIT, share).await.ok()?.ok().map(|share| Room { _share: share })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn large_changes_share_a_bounded_room() {
        let watchers = Watchers::new(8);
        let enter = || watchers.enter(ClientAddress::new([127, 0, 0, 1].into())).ok().unwrap();
        let (one, other) = (enter(), enter());
        let half = one.room_for(ROOM_BYTES / 2).await.unwrap();
        let rest = other.room_for(ROOM_BYTES / 2).await.unwrap();
        assert!(one.room_for(1).await.is_none(), "it is full, and stays so");
        drop(half);
        let waiting = other.room_for(10 * ROOM_BYTES);
        tokio::pin!(waiting);
        assert!(timeout(ROOM_LIMIT / 2, &mut waiting).await.is_err(), "half of it is free");
        drop(rest);
        assert!(waiting.await.is_some(), "whatever its size, a change finds room");
    }
}
