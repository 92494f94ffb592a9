//! The memory of answers that clients have not read yet, which has one limit for all.
//!
//! A client that reads slowly keeps its answer in memory: a value that was replaced meanwhile, or the JSON of many values.
//! So a large answer takes its part of the memory before it is sent, and gives it back when the last byte was handed to
//! the system. Where a request has an effect, the part is taken before that.

use super::Busy;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Answers of up to so many bytes are not counted. The limit of connections bounds them, and probes and errors are
/// answered whatever others take.
pub const SMALL_ANSWER_BYTES: usize = 16 * 1024;

/// The memory of all large answers.
#[derive(Debug)]
pub struct AnswerMemory {
    used: Arc<AtomicUsize>,
    max: usize,
}

/// A part of the memory of all answers; free again when this is dropped.
#[derive(Debug)]
pub struct AnswerPermit {
    used: Arc<AtomicUsize>,
    bytes: usize,
}

impl AnswerMemory {
    /// Memory of this many bytes.
    pub fn new(max: usize) -> Self {
        Self { used: Arc::default(), max }
    }

    /// Takes a part for an answer of so many bytes; none for a small one.
    ///
    /// # Errors
    /// [`Busy`] if other answers take the memory. An answer that is larger than all of it is admitted when it is the only
    /// one.
    pub fn reserve(&self, bytes: usize) -> Result<Option<AnswerPermit>, Busy> {
        if bytes <= SMALL_ANSWER_BYTES {
            return Ok(None);
        }
        let fits = |used: usize| (used == 0 || used + bytes <= self.max).then_some(used + bytes);
        match self.used.fetch_update(Relaxed, Relaxed, fits) {
            Ok(_) => Ok(Some(self.permit(bytes))),
            Err(_) => Err(Busy("clients of this node have not read their answers yet")),
        }
    }

    /// Takes a part for the answer to a request that had its effect, whatever others take.
    pub fn take(&self, bytes: usize) -> Option<AnswerPermit> {
        if bytes <= SMALL_ANSWER_BYTES {
            return None;
        }
        self.used.fetch_add(bytes, Relaxed);
        Some(self.permit(bytes))
    }

    /// Bytes that large answers take now.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    fn permit(&self, bytes: usize) -> AnswerPermit {
        AnswerPermit { used: self.used.clone(), bytes }
    }
}

impl Drop for AnswerPermit {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = SMALL_ANSWER_BYTES + 1;

    #[test]
    fn large_answers_have_one_limit_for_all() {
        let memory = AnswerMemory::new(2 * LARGE);
        let first = memory.reserve(LARGE).unwrap();
        let second = memory.reserve(LARGE).unwrap();
        assert!(memory.reserve(LARGE).is_err() && memory.reserve(SMALL_ANSWER_BYTES).unwrap().is_none());
        let forced = memory.take(LARGE);
        assert_eq!(memory.used(), 3 * LARGE);
        drop((first, second));
        assert!(memory.reserve(LARGE).unwrap().is_some());
        drop(forced);
        assert_eq!(memory.used(), 0);
        // One that fits nowhere is not refused for ever.
        let huge = memory.reserve(9 * LARGE).unwrap();
        assert!(huge.is_some() && memory.reserve(LARGE).is_err());
    }
}
