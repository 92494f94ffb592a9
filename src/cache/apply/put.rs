//! `put`: stores a value under a key, new or not.

use super::check::{Check, Lookup, Until};
use super::checked_op::{CheckedOp, RemoveKind, StoreKind};
use crate::cache::{CommandError, Condition, Key, Outcome, Ttl, Value};

pub(super) fn check(
    check: &Check<'_>,
    key: Key,
    value: &Value,
    ttl: Ttl,
    condition: &Condition,
    previous: bool,
) -> Result<CheckedOp, CommandError> {
    let found = check.find(&key);
    let until = check.until(ttl, found)?;
    check.condition(&key, found, condition)?;
    let record = check.record(&key, value)?;
    Ok(match (until, found) {
        (Until::Live(lifetime), _) => CheckedOp::Store {
            key,
            slot: found.slot(),
            record,
            lifetime,
            kind: StoreKind::Value { previous },
        },
        (Until::Past(_), Lookup::Live(slot, _)) => {
            CheckedOp::Remove { key, slot, kind: RemoveKind::Put { previous } }
        }
        (Until::Past(_), Lookup::Absent | Lookup::Expired(_)) => {
            CheckedOp::Nothing(Outcome::Put { revision: check.index(), created: false, previous: None })
        }
    })
}
