//! R3: purged <= snapshot <= applied <= committed <= last log index.

use super::{Invariant, Sight};

pub struct Positions;

impl Invariant for Positions {
    fn check(&mut self, sight: &Sight) -> Result<(), String> {
        let (view, applied) = (&sight.view, sight.applied);
        let positions = [view.purged_index, view.snapshot_index, view.committed_index, view.last_log_index];
        let fits = view.snapshot_index <= applied && (applied <= view.committed_index || !sight.disk_is_idle);
        if positions.is_sorted() && fits {
            return Ok(());
        }
        Err(format!("machine {} has applied {applied}, and its view is {view:?}", sight.place))
    }
}
