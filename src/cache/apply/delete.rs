//! `delete`: removes a key and leaves a tombstone.

use super::check::Check;
use super::step::Step;
use crate::cache::{CommandError, Condition, Key, Outcome};

pub(super) fn check(
    check: &Check<'_>,
    key: Key,
    condition: Condition,
    previous: bool,
) -> Result<Step, CommandError> {
    let current = check.live(&key);
    check.condition(current, condition)?;
    // An expired entry that is not purged yet is left to be purged: it expired, nobody deleted it.
    Ok(if current.is_some() { Step::Remove { key, previous } } else { Step::Nothing(Outcome::NotFound) })
}
