//! `expire`: gives an existing key a new deadline.

use super::check::Check;
use super::persist;
use super::step::Step;
use crate::cache::{CommandError, Condition, Key};

pub(super) fn check(
    check: &Check<'_>,
    key: Key,
    ttl_ms: u64,
    condition: Condition,
) -> Result<Step, CommandError> {
    let deadline = check.deadline_in(ttl_ms)?;
    persist::check_deadline(check, key, Some(deadline), condition)
}
