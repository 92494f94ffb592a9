//! R3: purged <= snapshot <= applied <= committed <= last log index.

use super::{Invariant, Sight};

pub struct Positions;

impl Invariant for Positions {
    fn check(&mut self, sight: &Sight) -> Result<(), String> {
        let (status, applied) = (&sight.status, sight.applied);
        let positions =
            [status.purged_index, status.snapshot_index, status.committed_index, status.last_log_index];
        let fits =
            status.snapshot_index <= applied && (applied <= status.committed_index || !sight.disk_is_idle);
        if positions.is_sorted() && fits {
            return Ok(());
        }
        Err(format!("machine {} has applied {applied}, and its status is {status:?}", sight.place))
    }
}
