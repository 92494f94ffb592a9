//! `note`: writes down what an operator asks for.

use crate::cache::error::InvalidField;
use crate::cache::outcome::CommandResult;
use crate::cache::{AdminRequested, Cache, CommandError, Outcome};

impl Cache {
    pub(super) fn note_admin_action(&mut self, requested: AdminRequested) -> CommandResult {
        match self.admin_log.add(requested, self.index, self.now_ms) {
            true => Ok(Outcome::Ticked),
            false => Err(CommandError::Invalid { op: None, field: InvalidField::AdminAction }),
        }
    }
}
