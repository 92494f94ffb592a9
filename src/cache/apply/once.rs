//! Applying a named request at most once: a retry is answered from memory.

use crate::cache::dedup::{Memory, fingerprint};
use crate::cache::limits::IDEMPOTENCY_KEY_BYTES_MAX;
use crate::cache::outcome::CommandResult;
use crate::cache::{Cache, Command, CommandError};
use std::sync::Arc;

/// What a request's name says about it.
pub(super) enum Once {
    /// It is new, or has no name. Its answer is to be remembered with the ticket.
    Fresh(Option<Ticket>),
    /// It was applied before; this was the answer.
    Replayed(CommandResult),
    Refused(CommandError),
}

/// A request that named itself.
pub(super) struct Ticket {
    key: Arc<str>,
    fingerprint: u128,
}

impl Ticket {
    pub fn stamped(self, now_ms: u64, answer: &CommandResult) -> Memory {
        Memory::new(self.key, self.fingerprint, now_ms, answer)
    }
}

impl Cache {
    pub(super) fn once(&self, key: Option<&str>, command: &Command) -> Once {
        let Some(key) = key else { return Once::Fresh(None) };
        if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
            let reason = format!("an idempotency key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes");
            let field = "idempotency_key".into();
            return Once::Refused(CommandError::Invalid { op: None, field, reason });
        }
        let fingerprint = fingerprint(command);
        match self.remembered.recall(key, self.now_ms) {
            None => Once::Fresh(Some(Ticket { key: key.into(), fingerprint })),
            Some(memory) if memory.fingerprint != fingerprint => {
                Once::Refused(CommandError::IdempotencyKeyReused)
            }
            Some(memory) => match memory.answer() {
                Some(answer) => Once::Replayed(answer),
                None => Once::Refused(CommandError::IdempotencyKeyReused),
            },
        }
    }
}
