//! How many writes a node takes in at a time, so that it goes on answering when it is asked too much.

use super::error::NodeError;
use super::options::Limits;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The door for writes: so many, and so many bytes, at a time.
pub(super) struct Admission {
    writes: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

impl Admission {
    pub fn new(limits: &Limits) -> Self {
        let bytes = limits.write_bytes_in_flight.min(Semaphore::MAX_PERMITS);
        Self {
            writes: Arc::new(Semaphore::new(limits.writes_in_flight)),
            bytes: Arc::new(Semaphore::new(bytes)),
        }
    }

    /// A place for a write of so many bytes; kept until it is dropped.
    pub fn enter(&self, bytes: usize) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), NodeError> {
        let bytes = u32::try_from(bytes).map_err(|_| NodeError::Busy)?;
        let write = self.writes.clone().try_acquire_owned().map_err(|_| NodeError::Busy)?;
        let bytes = self.bytes.clone().try_acquire_many_owned(bytes).map_err(|_| NodeError::Busy)?;
        Ok((write, bytes))
    }
}
