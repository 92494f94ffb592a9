//! `put`: stores a value under a key, new or not.

use super::check::Check;
use super::step::{Step, Stored};
use crate::cache::{CommandError, Condition, Key, Ttl, Value};

pub(super) fn check(
    check: &Check<'_>,
    key: Key,
    value: &Value,
    ttl: Ttl,
    condition: Condition,
) -> Result<Step, CommandError> {
    let deadline = check.deadline(ttl)?;
    check.condition(check.live(&key), condition)?;
    let payload = check.payload(&key, value)?;
    Ok(Step::Store { key, payload, deadline, kind: Stored::Value })
}
