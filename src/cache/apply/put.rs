//! `put`: stores a value under a key, new or not.

use super::check::Check;
use super::checked_op::{CheckedOp, StoreKind};
use crate::cache::{CommandError, Condition, Key, Ttl, Value};

pub(super) fn check(
    check: &Check<'_>,
    key: Key,
    value: &Value,
    ttl: Ttl,
    condition: &Condition,
    previous: bool,
) -> Result<CheckedOp, CommandError> {
    let lifetime = check.lifetime(ttl)?;
    let found = check.find(&key);
    check.condition(&key, found, condition)?;
    let record = check.record(&key, value)?;
    Ok(CheckedOp::Store { key, slot: found.slot(), record, lifetime, kind: StoreKind::Value { previous } })
}
