//! Limits the writes in flight on a node, so that it stays responsive under too much load.

use super::error::NodeError;
use super::options::Limits;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Permits for writes in flight, by their number and by their bytes.
pub(super) struct Admission {
    writes: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    writes_max: u32,
    bytes_max: usize,
}

impl Admission {
    pub fn new(limits: &Limits) -> Self {
        let bytes_max = limits.write_bytes_in_flight.min(Semaphore::MAX_PERMITS);
        let writes_max = u32::try_from(limits.writes_in_flight).unwrap_or(u32::MAX);
        Self {
            writes: Arc::new(Semaphore::new(writes_max as usize)),
            writes_max,
            bytes: Arc::new(Semaphore::new(bytes_max)),
            bytes_max,
        }
    }

    /// Returns once no write is in flight. Writes that come meanwhile are refused.
    pub async fn idle(&self) {
        // The semaphore is never closed, so waiting can't fail.
        drop(self.writes.acquire_many(self.writes_max).await);
    }

    /// Admits a write of `bytes` bytes; drop the permits when it has ended. Refuses it immediately if there are too
    /// many writes. If there are too many bytes, it waits for its turn until `until`: a write that waits has only its
    /// body in memory, while one in flight also has copies in the log and on the way to each node.
    ///
    /// # Errors
    /// [`NodeError::Busy`]: nothing was done.
    pub async fn admit(
        &self,
        bytes: usize,
        until: Instant,
    ) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), NodeError> {
        let bytes = u32::try_from(bytes.min(self.bytes_max)).map_err(|_| NodeError::Busy)?;
        let write = self.writes.clone().try_acquire_owned().map_err(|_| NodeError::Busy)?;
        let bytes = match self.bytes.clone().try_acquire_many_owned(bytes) {
            Ok(bytes) => bytes,
            Err(_) => {
                let waiting = timeout_at(until, self.bytes.clone().acquire_many_owned(bytes));
                waiting.await.ok().and_then(Result::ok).ok_or(NodeError::Busy)?
            }
        };
        Ok((write, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn bytes_are_waited_for_in_turn_and_numbers_are_not() {
        let limits = Limits { writes_in_flight: 4, write_bytes_in_flight: 100, ..Limits::default() };
        let admission = Admission::new(&limits);
        let until = Instant::now() + Duration::from_secs(1);
        let first = admission.admit(60, until).await.expect("room");
        let second = admission.admit(60, until);
        tokio::pin!(second);
        assert!(second.as_mut().now_or_never().is_none(), "it waits");
        let third = admission.admit(1_000, until);
        tokio::pin!(third);
        assert!(third.as_mut().now_or_never().is_none(), "it waits for all there is");
        drop(first);
        let second = second.await.expect("its turn");
        assert!(third.as_mut().now_or_never().is_none());
        drop(second);
        let _third = third.await.expect("larger than all, and alone");
        let refused = admission.admit(1, until).await;
        assert_eq!(Instant::now(), until, "it waited");
        assert!(matches!(refused, Err(NodeError::Busy)));
        let _permits: Vec<_> = (0..3).map(|_| admission.writes.clone().try_acquire_owned()).collect();
        assert!(matches!(admission.admit(0, until).now_or_never(), Some(Err(NodeError::Busy))));
    }
}
