//! `persist`: removes the deadline of an existing key.

use super::check::{Check, Lookup};
use super::checked_op::CheckedOp;
use crate::cache::entry::Lifetime;
use crate::cache::{CommandError, Condition, Key, Outcome};

pub(super) fn check(check: &Check<'_>, key: Key, condition: &Condition) -> Result<CheckedOp, CommandError> {
    check_lifetime(check, key, Lifetime::FOREVER, condition)
}

/// Shared with `expire`. A lifetime that is the same already changes nothing, not even the revision.
pub(super) fn check_lifetime(
    check: &Check<'_>,
    key: Key,
    lifetime: Lifetime,
    condition: &Condition,
) -> Result<CheckedOp, CommandError> {
    let found = check.find(&key);
    check.condition(&key, found, condition)?;
    Ok(match found {
        Lookup::Absent | Lookup::Expired(_) => check.not_found(&key),
        Lookup::Live(_, entry) if entry.lifetime() == lifetime => CheckedOp::Nothing(Outcome::Deadline {
            revision: entry.revision.get(),
            expires_at_ms: entry.expires_at_ms(),
        }),
        Lookup::Live(slot, _) => CheckedOp::SetLifetime { key, slot, lifetime },
    })
}
