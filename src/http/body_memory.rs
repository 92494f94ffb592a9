//! What request bodies may take together, and how one is put together.
//!
//! A client that stops in the middle of a body keeps what it sent in memory until its time is up. So a quarter of the memory
//! is for bodies that nobody waits for: as long as the others are stuck, small ones still get through.

use super::extract::Held;
use super::respond::ApiError;
use crate::api::ErrorCode;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A part of the memory that all bodies may take.
pub(super) type Share = Option<OwnedSemaphorePermit>;

/// The memory of all bodies.
#[derive(Debug)]
pub(super) struct BodyMemory {
    all: Arc<Semaphore>,
    /// The part of it that bodies may take whose clients are waited for.
    awaited: Arc<Semaphore>,
}

impl BodyMemory {
    pub fn new(bytes: usize) -> Self {
        let of = |bytes| Arc::new(Semaphore::new(bytes));
        Self { all: of(bytes), awaited: of(bytes - bytes / 4) }
    }
}

/// A body as far as it came. Many pieces become one: each by itself would take more than is counted.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// The only one, as long as there is one.
    first: Bytes,
    /// All, once there are more.
    all: Vec<u8>,
    share: Share,
    awaited: Share,
}

impl Pieces {
    pub fn len(&self) -> usize {
        self.first.len() + self.all.len()
    }

    /// # Errors
    /// `busy` when other bodies take all the memory there is.
    pub fn push(&mut self, memory: &BodyMemory, piece: Bytes) -> Result<(), ApiError> {
        take(&memory.all, &mut self.share, piece.len())?;
        if self.len() == 0 {
            self.first = piece;
            return Ok(());
        }
        self.all.extend_from_slice(&std::mem::take(&mut self.first));
        self.all.extend_from_slice(&piece);
        Ok(())
    }

    /// Its client is waited for while so much is held.
    ///
    /// # Errors
    /// `busy` when other clients that are waited for hold all that they may.
    pub fn wait(&mut self, memory: &BodyMemory) -> Result<(), ApiError> {
        let counted = self.awaited.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = self.len() - counted;
        take(&memory.awaited, &mut self.awaited, more)
    }

    /// The whole body.
    pub fn finish(mut self) -> Held {
        self.all.shrink_to_fit();
        let bytes = if self.all.is_empty() { self.first } else { self.all.into() };
        Held { bytes, share: self.share }
    }
}

fn take(from: &Arc<Semaphore>, share: &mut Share, bytes: usize) -> Result<(), ApiError> {
    if bytes == 0 {
        return Ok(());
    }
    let busy = || ApiError::new(ErrorCode::Busy, "too many bodies are on their way to this node");
    let permits = u32::try_from(bytes).map_err(|_| busy())?;
    let more = from.clone().try_acquire_many_owned(permits).map_err(|_| busy())?;
    match share {
        Some(share) => share.merge(more),
        None => *share = Some(more),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Piece(Arc<[u8; 1]>);

    impl AsRef<[u8]> for Piece {
        fn as_ref(&self) -> &[u8] {
            &*self.0
        }
    }

    #[test]
    fn a_body_of_many_pieces_does_not_keep_them() {
        let (memory, alive) = (BodyMemory::new(1_000), Arc::new(*b"x"));
        let mut pieces = Pieces::default();
        for _ in 0..1_000 {
            pieces.push(&memory, Bytes::from_owner(Piece(alive.clone()))).ok().unwrap();
            assert!(Arc::strong_count(&alive) <= 2, "one piece at most is kept as it came");
        }
        assert!(pieces.push(&memory, Bytes::from_static(b"x")).is_err(), "the memory is used up");
        let Held { bytes, share } = pieces.finish();
        assert_eq!((bytes, memory.all.available_permits()), (vec![b'x'; 1_000].into(), 0));
        drop(share);
        assert_eq!(memory.all.available_permits(), 1_000);
    }

    #[test]
    fn a_quarter_is_for_bodies_that_nobody_waits_for() {
        let memory = BodyMemory::new(1_000);
        let begun = |length: usize| {
            let mut pieces = Pieces::default();
            pieces.push(&memory, vec![0; length].into()).ok().unwrap();
            pieces
        };
        let (mut stuck, mut late) = (begun(750), begun(1));
        for _ in 0..2 {
            assert!(stuck.wait(&memory).is_ok(), "what is counted is not counted again");
        }
        assert!(late.wait(&memory).is_err());
        assert_eq!(begun(200).finish().bytes.len(), 200);
        drop(stuck);
        assert!(late.wait(&memory).is_ok());
        drop(late);
        let left = (memory.all.available_permits(), memory.awaited.available_permits());
        assert_eq!(left, (1_000, 750));
    }
}
