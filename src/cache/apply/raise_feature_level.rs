//! Raises the feature level: from that log entry on, all nodes apply the rules of a later level.

use crate::cache::limits::FEATURE_LEVEL;
use crate::cache::{Cache, CommandError, InvalidField, Outcome};

impl Cache {
    pub(super) fn raise_feature_level(&mut self, level: u32) -> Result<Outcome, CommandError> {
        // A level that this program does not know stops the node before it applies the entry.
        if level > FEATURE_LEVEL || level < self.feature_level {
            return Err(CommandError::Invalid { op: None, field: InvalidField::FeatureLevel });
        }
        self.feature_level = level;
        Ok(Outcome::FeatureLevel(level))
    }
}
