//! What a check may take: time, and memory for what it has seen.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Most bytes that all searches together may remember.
const BYTES_MAX: usize = 512 << 20;

/// Shared by the threads of a check.
#[derive(Debug)]
pub(super) struct Budget {
    deadline: Instant,
    bytes: AtomicUsize,
}

/// Why a search stopped before it was through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exhausted {
    Time,
    Memory,
}

impl Exhausted {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Time => "there was not enough time",
            Self::Memory => "there was not enough memory",
        }
    }
}

impl Budget {
    pub fn until(deadline: Instant) -> Self {
        Self { deadline, bytes: AtomicUsize::new(0) }
    }

    /// Fails when the deadline is over.
    pub fn check_time(&self) -> Result<(), Exhausted> {
        if Instant::now() < self.deadline { Ok(()) } else { Err(Exhausted::Time) }
    }

    /// Memory for one search, given back when it is dropped.
    pub fn share(&self) -> Share<'_> {
        Share { budget: self, bytes: 0 }
    }
}

/// The part of the memory that one search has taken.
#[derive(Debug)]
pub(super) struct Share<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Share<'_> {
    /// Fails when all memory is taken.
    pub fn take(&mut self, bytes: usize) -> Result<(), Exhausted> {
        self.bytes += bytes;
        let taken = self.budget.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if taken <= BYTES_MAX { Ok(()) } else { Err(Exhausted::Memory) }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.budget.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn memory_is_shared_and_given_back() {
        let budget = Budget::until(Instant::now() + Duration::from_secs(60));
        let mut first = budget.share();
        assert_eq!(first.take(BYTES_MAX), Ok(()));
        assert_eq!(budget.share().take(1), Err(Exhausted::Memory));
        drop(first);
        assert_eq!(budget.share().take(BYTES_MAX), Ok(()));
        assert_eq!(budget.check_time(), Ok(()));
        assert_eq!(Budget::until(Instant::now()).check_time(), Err(Exhausted::Time));
    }
}
