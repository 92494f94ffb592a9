//! How long something may compute: processor time of its thread, not time that passes. A script is none the longer for a
//! machine that is busy or stood still meanwhile.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The end of what this thread may compute. It means nothing on another one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    end: Duration,
}

impl Allowance {
    /// So much from now on.
    pub fn of(time: Duration) -> Self {
        Self { end: computed() + time }
    }

    /// The same and so much more.
    pub fn and(self, time: Duration) -> Self {
        Self { end: self.end + time }
    }

    pub fn is_used_up(self) -> bool {
        computed() >= self.end
    }
}

/// How long this thread has computed since it began.
pub(super) fn computed() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
