//! R3: no node applies what is not committed.

use super::{Invariant, Sighting};

pub struct AppliedNotAhead;

impl Invariant for AppliedNotAhead {
    fn name(&self) -> &'static str {
        "applied is never ahead of committed"
    }

    fn see(&mut self, Sighting { status, .. }: &Sighting) -> Result<(), String> {
        if status.applied_index <= status.committed_index {
            return Ok(());
        }
        Err(format!(
            "{} has applied {}, and knows only {} to be committed",
            status.node.name, status.applied_index, status.committed_index
        ))
    }
}
