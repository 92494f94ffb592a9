//! Counts the reads that a log entry reports. They change the order of eviction, and deadlines that slide; nothing else
//! that a client could see.

use crate::cache::limits::TOUCHES_MAX;
use crate::cache::{Cache, Touch};

impl Cache {
    /// `was_ms` is the log time before this log entry. An entry that had not expired then had not expired when it was
    /// read, so the read may move its deadline.
    pub(super) fn count_reads(&mut self, touches: &[Touch], was_ms: u64) {
        for &touch in touches.iter().take(TOUCHES_MAX as usize) {
            self.stats.touched += 1;
            // A late read is no error: the entry was removed while the read was on its way.
            self.stats.touched_late += u64::from(!self.store.touch(touch, was_ms, self.now_ms));
        }
    }
}
