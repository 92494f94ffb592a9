//! `persist`: takes an existing key's deadline away.

use super::check::Check;
use super::step::Step;
use crate::cache::{CommandError, Condition, Key, Outcome};
use std::num::NonZeroU64;

pub(super) fn check(check: &Check<'_>, key: Key, condition: Condition) -> Result<Step, CommandError> {
    check_deadline(check, key, None, condition)
}

/// Shared with `expire`: a deadline that is the same already changes nothing, not even the revision.
pub(super) fn check_deadline(
    check: &Check<'_>,
    key: Key,
    deadline: Option<NonZeroU64>,
    condition: Condition,
) -> Result<Step, CommandError> {
    let current = check.live(&key);
    check.condition(current, condition)?;
    Ok(match current {
        None => Step::Nothing(Outcome::NotFound),
        Some(entry) if entry.deadline == deadline => Step::Nothing(Outcome::Deadline {
            revision: entry.revision,
            expires_at_ms: entry.expires_at_ms(),
        }),
        Some(_) => Step::SetDeadline { key, deadline },
    })
}
