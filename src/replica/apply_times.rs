//! How long this node's `apply` takes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What readers wait for: a few log entries are applied under one lock.
#[derive(Debug, Default)]
pub(super) struct ApplyTimes {
    count: AtomicU64,
    total_us: AtomicU64,
    longest_us: AtomicU64,
}

/// The same, as it was at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApplyStats {
    /// How often the lock was taken.
    pub count: u64,
    pub total: Duration,
    /// The longest time that it was held, since the node started.
    pub longest: Duration,
}

impl ApplyTimes {
    pub fn note(&self, took: Duration) {
        let us = took.as_micros() as u64;
        self.count.fetch_add(1, Relaxed);
        self.total_us.fetch_add(us, Relaxed);
        self.longest_us.fetch_max(us, Relaxed);
    }

    pub fn stats(&self) -> ApplyStats {
        ApplyStats {
            count: self.count.load(Relaxed),
            total: Duration::from_micros(self.total_us.load(Relaxed)),
            longest: Duration::from_micros(self.longest_us.load(Relaxed)),
        }
    }
}
