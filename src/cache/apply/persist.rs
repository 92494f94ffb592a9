//! `persist`: takes an existing key's deadline away.

use super::check::{Check, There};
use super::step::Step;
use crate::cache::entry::Lifetime;
use crate::cache::{CommandError, Condition, Key, Outcome};

pub(super) fn check(check: &Check<'_>, key: Key, condition: &Condition) -> Result<Step, CommandError> {
    check_lifetime(check, key, Lifetime::FOREVER, condition)
}

/// Shared with `expire`: a lifetime that is the same already changes nothing, not even the revision.
pub(super) fn check_lifetime(
    check: &Check<'_>,
    key: Key,
    lifetime: Lifetime,
    condition: &Condition,
) -> Result<Step, CommandError> {
    let there = check.find(&key);
    check.condition(there, condition)?;
    Ok(match there {
        There::Nothing | There::Expired(_) => Step::Nothing(Outcome::NotFound),
        There::Live(_, entry) if entry.lifetime() == lifetime => Step::Nothing(Outcome::Deadline {
            revision: entry.revision,
            expires_at_ms: entry.expires_at_ms(),
        }),
        There::Live(slot, _) => Step::SetLifetime { key, slot, lifetime },
    })
}
