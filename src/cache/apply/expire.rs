//! `expire` and `persist`: set the lifetime of an existing key.

use super::check::{Check, Lookup, Until};
use super::checked_op::{CheckedOp, RemoveKind};
use crate::cache::{CommandError, Condition, DeadlineCondition, Key, Outcome, Ttl};

/// A lifetime that is the same already changes nothing, not even the revision.
pub(super) fn check(
    check: &Check<'_>,
    key: Key,
    ttl: Ttl,
    condition: &Condition,
    only: DeadlineCondition,
) -> Result<CheckedOp, CommandError> {
    let found = check.find(&key);
    let until = check.until(ttl, found)?;
    check.condition(&key, found, condition)?;
    let Lookup::Live(slot, entry) = found else { return Ok(check.not_found(&key)) };
    check.deadline_condition(entry, until, only)?;
    Ok(match until {
        Until::Past(_) => CheckedOp::Remove { key, slot, kind: RemoveKind::Delete { previous: false } },
        Until::Live(lifetime) if entry.lifetime() == lifetime => CheckedOp::Nothing(Outcome::Deadline {
            revision: entry.revision.get(),
            expires_at_ms: entry.expires_at_ms(),
        }),
        Until::Live(lifetime) => CheckedOp::SetLifetime { key, slot, lifetime, read: false },
    })
}
