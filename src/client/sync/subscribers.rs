//! Changes for those who wait for them one by one.

use super::storage::locked;
use super::types::SyncChange;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

/// Changes that wait for one subscriber.
const WAITING_MAX: usize = 10_000;

/// Who is told of changes.
#[derive(Default)]
pub(super) struct Subscribers {
    all: Mutex<Vec<Subscriber>>,
}

struct Subscriber {
    queue: mpsc::Sender<SyncChange>,
    missed: Arc<AtomicBool>,
}

impl Subscribers {
    pub(super) fn subscribe(&self) -> SyncChanges {
        let (queue, changes) = mpsc::channel(WAITING_MAX);
        let missed = Arc::new(AtomicBool::new(false));
        locked(&self.all).push(Subscriber { queue, missed: missed.clone() });
        SyncChanges { changes, missed }
    }

    pub(super) fn tell(&self, change: &SyncChange) {
        locked(&self.all).retain(|subscriber| match subscriber.queue.try_send(change.clone()) {
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                subscriber.missed.store(true, Ordering::Release);
                true
            }
            Ok(()) => true,
        });
    }

    pub(super) fn close(&self) {
        locked(&self.all).clear();
    }
}

/// Changes of all origins as they come. Who is slower than 10,000 changes gets [`SyncChange::Resync`] in place of those that he missed.
pub struct SyncChanges {
    changes: mpsc::Receiver<SyncChange>,
    missed: Arc<AtomicBool>,
}

impl SyncChanges {
    /// The next change; `None` after the synchronizer was closed. It can be dropped while it waits.
    pub async fn next(&mut self) -> Option<SyncChange> {
        if self.missed.swap(false, Ordering::Acquire) {
            while self.changes.try_recv().is_ok() {}
            return Some(SyncChange::Resync);
        }
        self.changes.recv().await
    }
}
