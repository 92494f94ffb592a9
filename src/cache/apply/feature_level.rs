//! Raising the feature level: from that log entry on, all nodes keep the rules of a later level.

use crate::cache::limits::FEATURE_LEVEL;
use crate::cache::{Cache, Command, CommandError, Outcome};

impl Cache {
    /// The level at which the rules of this program end. A command beyond it must not be applied by it: the
    /// nodes that know the level go on by rules that it does not know. `None` for commands that it knows.
    pub fn level_beyond(command: &Command) -> Option<u32> {
        match command {
            Command::RaiseFeatureLevel { level } if *level > FEATURE_LEVEL => Some(*level),
            _ => None,
        }
    }

    pub(super) fn raise_feature_level(&mut self, level: u32) -> Result<Outcome, CommandError> {
        if level > FEATURE_LEVEL || level < self.feature_level {
            let field = "feature_level".into();
            let reason = format!("it is {} to {FEATURE_LEVEL}", self.feature_level);
            return Err(CommandError::Invalid { op: None, field, reason });
        }
        self.feature_level = level;
        Ok(Outcome::FeatureLevel(level))
    }
}
