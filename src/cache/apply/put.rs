//! `put`: stores a value under a key, new or not.

use super::check::Check;
use super::step::{Step, Stored};
use crate::cache::{CommandError, Condition, Key, Ttl, Value};

pub(super) fn check(
    check: &Check<'_>,
    key: Key,
    value: &Value,
    ttl: Ttl,
    condition: &Condition,
    previous: bool,
) -> Result<Step, CommandError> {
    let lifetime = check.lifetime(ttl)?;
    let there = check.find(&key);
    check.condition(there, condition)?;
    let record = check.record(&key, value)?;
    Ok(Step::Store { key, slot: there.slot(), record, lifetime, kind: Stored::Value { previous } })
}
