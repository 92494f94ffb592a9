//! Counts the reads that a log entry tells of. They change in which order entries go, and the deadlines that
//! uses move; nothing that a client could see otherwise.

use crate::cache::limits::TOUCHES_MAX;
use crate::cache::{Cache, Touch};

impl Cache {
    /// `was_ms` is the log time until now: who was alive then was alive when it was read, and a use may renew it.
    pub(super) fn count_reads(&mut self, touches: &[Touch], was_ms: u64) {
        for &touch in touches.iter().take(TOUCHES_MAX as usize) {
            self.stats.touched += 1;
            // Late is no fault: the entry went while the reads were on their way.
            self.stats.touched_late += u64::from(!self.store.touch(touch, was_ms, self.now_ms));
        }
    }
}
