//! `delete`: removes a key and leaves a tombstone.

use super::check::{Check, Lookup};
use super::checked_op::{CheckedOp, RemoveKind};
use crate::cache::{CommandError, Condition, Key};

pub(super) fn check(
    check: &Check<'_>,
    key: Key,
    condition: &Condition,
    previous: bool,
) -> Result<CheckedOp, CommandError> {
    let found = check.find(&key);
    check.condition(&key, found, condition)?;
    Ok(match found {
        Lookup::Live(slot, _) => CheckedOp::Remove { key, slot, kind: RemoveKind::Delete { previous } },
        // An entry that has expired is left for expiry to remove: no client deleted it.
        Lookup::Expired(_) | Lookup::Absent => check.not_found(&key),
    })
}
