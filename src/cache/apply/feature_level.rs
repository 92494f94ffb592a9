//! Raises the feature level: from that log entry on, all nodes apply the rules of a later level.

use crate::cache::{Cache, CommandError, Outcome};

impl Cache {
    pub(super) fn raise_feature_level(&mut self, level: u32) -> Result<Outcome, CommandError> {
        // A level that this program does not know stops it before it comes here.
        if level < self.feature_level {
            let field = "feature_level".into();
            let reason = format!("it is {} already", self.feature_level);
            return Err(CommandError::Invalid { op: None, field, reason });
        }
        self.feature_level = level;
        Ok(Outcome::FeatureLevel(level))
    }
}
