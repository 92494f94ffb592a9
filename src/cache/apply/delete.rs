//! `delete`: removes a key and leaves a tombstone.

use super::check::{Check, There};
use super::step::Step;
use crate::cache::{CommandError, Condition, Key, Outcome};

pub(super) fn check(
    check: &Check<'_>,
    key: Key,
    condition: &Condition,
    previous: bool,
) -> Result<Step, CommandError> {
    let there = check.find(&key);
    check.condition(there, condition)?;
    Ok(match there {
        There::Live(slot, _) => Step::Remove { key, slot, previous },
        // An expired entry that is not purged yet is left to be purged: it expired, nobody deleted it.
        There::Expired(_) | There::Nothing => Step::Nothing(Outcome::NotFound),
    })
}
