//! `expire`: gives an existing key a new time to live.

use super::check::Check;
use super::checked_op::CheckedOp;
use super::persist;
use crate::cache::{CommandError, Condition, Key, Ttl};

pub(super) fn check(
    check: &Check<'_>,
    key: Key,
    ttl: Ttl,
    condition: &Condition,
) -> Result<CheckedOp, CommandError> {
    let lifetime = check.lifetime(ttl)?;
    persist::check_lifetime(check, key, lifetime, condition)
}
