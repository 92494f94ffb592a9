//! R7: what was once committed, or acknowledged to a client, every node has in the end.

use super::{Invariant, Sighting};
use crate::harness::load::Recorded;
use lockstep::api::Status;
use lockstep::check::Outcome;

#[derive(Default)]
pub struct CommittedNeverLost {
    committed: u64,
}

impl Invariant for CommittedNeverLost {
    fn name(&self) -> &'static str {
        "committed is never lost"
    }

    fn see(&mut self, Sighting { status, .. }: &Sighting) -> Result<(), String> {
        self.committed = self.committed.max(status.committed_index);
        Ok(())
    }

    fn end(&mut self, last: &[Status], recorded: &Recorded) -> Result<(), String> {
        let acknowledged = recorded.values().flatten().filter(|told| told.outcome == Outcome::Ok);
        let told = acknowledged.filter_map(|told| told.revision.max(told.index)).max().unwrap_or(0);
        let needed = self.committed.max(told);
        match last.iter().find(|status| status.applied_index < needed) {
            None => Ok(()),
            Some(status) => Err(format!(
                "index {needed} was committed, and {} ends at {}",
                status.node.name, status.applied_index
            )),
        }
    }
}
