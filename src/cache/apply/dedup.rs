//! Applies a request with an idempotency key at most once: a retry gets the stored result.

use crate::cache::dedup::{DedupEntry, fingerprint};
use crate::cache::limits::STORED_IDEMPOTENCY_KEY_BYTES_MAX;
use crate::cache::outcome::CommandResult;
use crate::cache::{Cache, Command, CommandError, InvalidField};
use std::sync::Arc;

/// What a request's idempotency key says about it.
pub(super) enum Dedup {
    /// It is new, or has no key. The ticket stores its result.
    Fresh(Option<DedupTicket>),
    /// It was applied before, with this result.
    Replayed(CommandResult),
    Refused(CommandError),
}

/// A request whose result is to be stored.
pub(super) struct DedupTicket {
    key: Arc<str>,
    fingerprint: u128,
}

impl DedupTicket {
    pub fn entry(self, now_ms: u64, result: &CommandResult) -> DedupEntry {
        DedupEntry::new(self.key, self.fingerprint, now_ms, result)
    }
}

impl Cache {
    pub(super) fn deduplicate(&self, key: Option<&str>, command: &Command) -> Dedup {
        let Some(key) = key else { return Dedup::Fresh(None) };
        if key.is_empty() || key.len() > STORED_IDEMPOTENCY_KEY_BYTES_MAX {
            return Dedup::Refused(CommandError::Invalid { op: None, field: InvalidField::IdempotencyKey });
        }
        let fingerprint = fingerprint(command);
        match self.dedup.find(key, self.now_ms) {
            None => Dedup::Fresh(Some(DedupTicket { key: key.into(), fingerprint })),
            Some(entry) if entry.fingerprint != fingerprint => {
                Dedup::Refused(CommandError::IdempotencyKeyReused)
            }
            Some(entry) => match entry.result() {
                Some(result) => Dedup::Replayed(result),
                None => Dedup::Refused(CommandError::IdempotencyKeyReused),
            },
        }
    }
}
