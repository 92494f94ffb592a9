//! `open_fork`: a node is about to leave and to begin a history of its own.

use crate::cache::forks::Fork;
use crate::cache::limits::HISTORY_BYTES_MAX;
use crate::cache::{Cache, CommandError, InvalidField, Outcome};

impl Cache {
    /// Asked twice it does no more than once. If too many forks are open it does nothing, which the node that asked can see. If
    /// there is a fork to that history already, any entry counts as a common one from now on.
    pub(super) fn open_fork_of_leaving(
        &mut self,
        history: String,
        node: u64,
        start_index: u64,
    ) -> Result<Outcome, CommandError> {
        if history.is_empty() || history.len() > HISTORY_BYTES_MAX || node == 0 {
            return Err(CommandError::Invalid { op: None, field: InvalidField::Merge });
        }
        self.forks.open_end(&history, node);
        self.forks.open(Fork::of_leaving(history, self.index, node, start_index));
        Ok(Outcome::Ticked)
    }
}
