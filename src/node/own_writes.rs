//! What this node answered is in what it shows. A follower forwards a write and may answer it before it has applied it, so
//! pages that tell of this node's own copy wait for what it has told its clients.

use super::inner::Inner;
use super::session::Session;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::timeout;

/// A follower applies what it forwarded a moment after the answer. One that takes longer is cut off, and says what it knows.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// The highest index of a write that this node answered since it started.
#[derive(Debug, Default)]
pub(super) struct OwnWrites(AtomicU64);

impl OwnWrites {
    pub fn note(&self, index: u64) {
        self.0.fetch_max(index, Relaxed);
    }
}

impl Inner {
    async fn apply_own_writes(&self) {
        let index = self.own_writes.0.load(Relaxed);
        // A node that is cut off for longer still shows what it has.
        let _ = timeout(WAIT_MAX, self.consensus.replica().applied(index)).await;
    }
}

impl Session {
    /// Waits until this node has applied the writes that it has answered: a moment, or a second on a node that is cut off.
    pub async fn own_writes_applied(&self) {
        self.node.inner.apply_own_writes().await;
    }
}
