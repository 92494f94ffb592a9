//! Work on several keys at once.

use super::journal::Step;
use super::state::Core;
use super::types::SyncError;
use std::collections::BTreeSet;

/// The work on several keys: it is written once, and one that fails does not stop the others.
#[derive(Default)]
pub(super) struct Turn {
    /// Keys whose records changed.
    pub(super) touched: BTreeSet<String>,
    pub(super) failed: Option<SyncError>,
}

impl Turn {
    pub(super) fn mind(&mut self, done: Result<(), SyncError>) {
        self.failed = self.failed.take().or(done.err());
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Ends it where more is to be done whatever has failed: that is left to the caller.
    ///
    /// # Errors
    /// The journal could not be written.
    pub(super) async fn end_minding(
        self,
        core: &mut Core,
        failed: &mut Option<SyncError>,
    ) -> Result<(), SyncError> {
        core.journal.write(&self.touched, Step::default()).await?;
        *failed = failed.take().or(self.failed);
        Ok(())
    }

    /// # Errors
    /// The first failure.
    pub(super) async fn end(self, core: &mut Core) -> Result<(), SyncError> {
        core.journal.write(&self.touched, Step::default()).await?;
        self.failed.map_or(Ok(()), Err)
    }
}
