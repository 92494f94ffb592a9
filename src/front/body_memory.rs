//! The memory of request bodies, which has one limit for all, and the buffer in which a body is received.
//!
//! A client that stops in the middle of a body keeps what it has sent in memory until its time is up. So a quarter of the
//! memory is for bodies that arrive whole: while slow clients hold the rest, small requests still get through.

use super::Busy;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A part of the memory of all bodies; free again when this is dropped. An empty body has none.
#[derive(Debug, Default)]
pub struct MemoryPermit(Option<OwnedSemaphorePermit>);

/// The memory of all bodies.
#[derive(Debug)]
pub struct BodyMemory {
    all: Arc<Semaphore>,
    /// The part of it for bodies that are still arriving.
    arriving: Arc<Semaphore>,
    bytes: usize,
}

impl BodyMemory {
    /// Memory of this many bytes.
    pub fn new(bytes: usize) -> Self {
        let of = |bytes| Arc::new(Semaphore::new(bytes));
        Self { all: of(bytes), arriving: of(bytes - bytes / 4), bytes }
    }

    /// Bytes that bodies take now.
    pub fn used(&self) -> usize {
        self.bytes.saturating_sub(self.all.available_permits())
    }
}

/// The part of a body that has arrived. Several pieces are copied into one: each piece is a part of a buffer of several KiB,
/// which it would keep from being freed even if it is a single byte.
#[derive(Debug, Default)]
pub struct BodyBuffer {
    /// The only piece, as long as there is one.
    first: Bytes,
    /// All pieces, once there are several.
    all: Vec<u8>,
    permit: MemoryPermit,
    arriving: MemoryPermit,
}

impl BodyBuffer {
    /// Bytes that have arrived.
    pub fn len(&self) -> usize {
        self.first.len() + self.all.len()
    }

    /// Whether nothing has arrived.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a piece.
    ///
    /// # Errors
    /// [`Busy`] if other bodies take all the memory.
    pub fn push(&mut self, memory: &BodyMemory, piece: Bytes) -> Result<(), Busy> {
        self.permit.grow(&memory.all, piece.len())?;
        if self.is_empty() {
            self.first = piece;
            return Ok(());
        }
        self.all.extend_from_slice(&std::mem::take(&mut self.first));
        self.all.extend_from_slice(&piece);
        Ok(())
    }

    /// Call this before waiting for more: what has arrived so far then counts as held by a slow client.
    ///
    /// # Errors
    /// [`Busy`] if other slow clients hold all that they can.
    pub fn wait(&mut self, memory: &BodyMemory) -> Result<(), Busy> {
        let more = self.len() - self.arriving.bytes();
        self.arriving.grow(&memory.arriving, more)
    }

    /// The whole body, and its part of the memory.
    pub fn finish(mut self) -> (Bytes, MemoryPermit) {
        self.all.shrink_to_fit();
        let bytes = if self.all.is_empty() { self.first } else { self.all.into() };
        (bytes, self.permit)
    }
}

/// The part of the memory for what a connection has received and not dealt with, whatever it is: commands of a protocol without
/// requests of their own.
#[derive(Debug, Default)]
pub struct InputMemory {
    all: MemoryPermit,
    arriving: MemoryPermit,
}

impl InputMemory {
    /// Takes more, up to so many bytes.
    ///
    /// # Errors
    /// [`Busy`] if others take all the memory.
    pub fn grow_to(&mut self, memory: &BodyMemory, bytes: usize) -> Result<(), Busy> {
        self.all.grow(&memory.all, bytes.saturating_sub(self.all.bytes()))
    }

    /// Call this before waiting for the rest of a command, of which so many bytes have arrived: they count as held by a slow client.
    ///
    /// # Errors
    /// [`Busy`] if other slow clients hold all that they can.
    pub fn wait(&mut self, memory: &BodyMemory, bytes: usize) -> Result<(), Busy> {
        self.arriving.grow(&memory.arriving, bytes.saturating_sub(self.arriving.bytes()))
    }
}

impl MemoryPermit {
    fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    fn grow(&mut self, from: &Arc<Semaphore>, bytes: usize) -> Result<(), Busy> {
        if bytes == 0 {
            return Ok(());
        }
        let busy = || Busy("too many bodies are on their way to this node");
        let permits = u32::try_from(bytes).map_err(|_| busy())?;
        let more = from.clone().try_acquire_many_owned(permits).map_err(|_| busy())?;
        match &mut self.0 {
            Some(permit) => permit.merge(more),
            None => self.0 = Some(more),
        }
        Ok(())
    }
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
        let mut pieces = BodyBuffer::default();
        for _ in 0..1_000 {
            pieces.push(&memory, Bytes::from_owner(Piece(alive.clone()))).unwrap();
            assert!(Arc::strong_count(&alive) <= 2, "at most one piece is kept as it came");
        }
        assert!(pieces.push(&memory, Bytes::from_static(b"x")).is_err(), "the memory is used up");
        let (bytes, permit) = pieces.finish();
        assert_eq!((bytes, memory.all.available_permits()), (vec![b'x'; 1_000].into(), 0));
        drop(permit);
        assert_eq!(memory.all.available_permits(), 1_000);
    }

    #[test]
    fn a_quarter_is_for_bodies_that_arrive_whole() {
        let memory = BodyMemory::new(1_000);
        let begun = |length: usize| {
            let mut pieces = BodyBuffer::default();
            pieces.push(&memory, vec![0; length].into()).unwrap();
            pieces
        };
        let (mut stuck, mut late) = (begun(750), begun(1));
        for _ in 0..2 {
            assert!(stuck.wait(&memory).is_ok(), "bytes are counted once");
        }
        assert!(late.wait(&memory).is_err());
        assert_eq!(begun(200).finish().0.len(), 200);
        drop(stuck);
        assert!(late.wait(&memory).is_ok());
        drop(late);
        let left = (memory.all.available_permits(), memory.arriving.available_permits());
        assert_eq!(left, (1_000, 750));
    }
}
