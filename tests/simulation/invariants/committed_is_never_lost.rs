//! R7: a node that becomes the leader has every entry that was committed before.

use super::{Invariant, Sight};
use lockstep::raft::Role;

#[derive(Default)]
pub struct Committed {
    index: u64,
    term: u64,
}

impl Invariant for Committed {
    fn check(&mut self, sight: &Sight) -> Result<(), String> {
        let status = &sight.status;
        if status.role == Role::Leader && status.term > self.term {
            self.term = status.term;
            if status.last_log_index < self.index {
                return Err(format!(
                    "machine {} leads term {} with a log that ends at {}; {} was committed before",
                    sight.place, status.term, status.last_log_index, self.index
                ));
            }
        }
        self.index = self.index.max(status.committed_index).max(sight.applied);
        Ok(())
    }
}
