//! The log of operators' actions: writing one down, and reading the newest.

use super::session::{Session, SessionError};
use super::write::WriteRequest;
use crate::api::{AdminActionInfo, AdminLogReport};
use crate::cache::limits::ADMIN_TEXT_BYTES_MAX;
use crate::cache::{AdminAction, AdminRequested, Cache, Command, Need, Role};
use std::time::Duration;

/// How long a note is waited for.
const NOTE_TIMEOUT: Duration = Duration::from_secs(3);

impl Session {
    /// Writes down that whoever asks is about to do something as an operator. Once this returns, it is in the log of a
    /// majority.
    ///
    /// # Errors
    /// [`SessionError`]: it may be in the log, or come there yet. Nothing else was done.
    pub async fn note_admin_action(&self, address: String, action: &str) -> Result<(), SessionError> {
        let requested = AdminRequested {
            principal: shortened(&self.principal().name()),
            address: shortened(&address),
            node: self.node_id(),
            action: shortened(action),
        };
        let command = Command::NoteAdminAction(Box::new(requested));
        let request = WriteRequest { limit: Some(NOTE_TIMEOUT), ..WriteRequest::from(command) };
        self.write(request).await.map(drop)
    }

    /// The newest actions of operators, newest first.
    ///
    /// # Errors
    /// [`SessionError`]; an older log is never returned instead.
    pub async fn admin_log(&self, limit: usize) -> Result<AdminLogReport, SessionError> {
        let find = |cache: &Cache| {
            let log = cache.admin_log();
            let mut actions: Vec<AdminActionInfo> = log.iter().map(|action| info(cache, action)).collect();
            actions.reverse();
            actions.truncate(limit);
            AdminLogReport { count: log.count(), actions }
        };
        Ok(self.read(&Need::Role(Role::Admin), find).await?.value)
    }
}

fn info(cache: &Cache, action: &AdminAction) -> AdminActionInfo {
    let AdminAction { index, at_ms, times, requested: AdminRequested { principal, address, node, action } } =
        action.clone();
    let token_name = cache.tokens().get(&principal).map(|token| token.name.clone());
    AdminActionInfo { index, at_ms, times, principal, token_name, address, node, action }
}

/// No longer than what the log takes.
fn shortened(text: &str) -> String {
    let mut end = ADMIN_TEXT_BYTES_MAX.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
