//! Applies a request with an idempotency key at most once: a retry gets the stored result.

use crate::cache::dedup::{DedupEntry, fingerprint};
use crate::cache::limits::STORED_IDEMPOTENCY_KEY_BYTES_MAX;
use crate::cache::outcome::CommandResult;
use crate::cache::{Cache, Command, CommandError, IdempotencyKey, InvalidField};
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
    /// What is stored of it: the log's index and time, and the result.
    pub fn entry(self, at: (u64, u64), result: &CommandResult) -> DedupEntry {
        DedupEntry::new(self.key, self.fingerprint, at, result)
    }
}

impl Cache {
    pub(super) fn deduplicate(&self, key: Option<&IdempotencyKey>, command: &Command) -> Dedup {
        let Some(IdempotencyKey { text: key, sent_after }) = key else { return Dedup::Fresh(None) };
        if key.is_empty() || key.len() > STORED_IDEMPOTENCY_KEY_BYTES_MAX {
            return Dedup::Refused(CommandError::Invalid { op: None, field: InvalidField::IdempotencyKey });
        }
        let fingerprint = fingerprint(command);
        let entry = self.dedup.find(key);
        let kept = entry.filter(|entry| !entry.is_expired(self.now_ms));
        // An expired result may be one of an earlier use of the key, and one that was dropped of another key.
        let forgotten = entry.map_or(self.dedup.forgotten(), |entry| entry.index);
        match kept {
            None if sent_after.is_some_and(|index| index < forgotten) => {
                Dedup::Refused(CommandError::OutcomeForgotten)
            }
            None => Dedup::Fresh(Some(DedupTicket { key: key.as_str().into(), fingerprint })),
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
