//! `note`: writes down what an operator asks for.

use crate::cache::error::InvalidField;
use crate::cache::outcome::CommandResult;
use crate::cache::{AdminAction, AdminRequested, Cache, CommandError, Outcome};

impl Cache {
    pub(super) fn note_admin_action(&mut self, requested: AdminRequested) -> CommandResult {
        let action = AdminAction { index: self.index, at_ms: self.now_ms, requested };
        match self.admin_log.add(action) {
            true => Ok(Outcome::Ticked),
            false => Err(CommandError::Invalid { op: None, field: InvalidField::AdminAction }),
        }
    }
}
