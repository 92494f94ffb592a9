//! `get`: reads a key at this point of the log; in a batch, after the operations before it. `get_ex` also sets its lifetime.

use super::check::{Check, Lookup, Until};
use super::checked_op::{CheckedOp, RemoveKind};
use crate::cache::{CommandError, Key, Ttl};

pub(super) fn check(key: Key) -> CheckedOp {
    CheckedOp::Read { key }
}

/// A lifetime that is the same already changes nothing, not even the revision.
pub(super) fn check_ex(check: &Check<'_>, key: Key, ttl: Option<Ttl>) -> Result<CheckedOp, CommandError> {
    let found = check.find(&key);
    if let Lookup::Live(_, entry) = found {
        check.string(entry)?;
    }
    let Some(ttl) = ttl else { return Ok(CheckedOp::Read { key }) };
    let until = check.until(ttl, found)?;
    let Lookup::Live(slot, entry) = found else { return Ok(CheckedOp::Read { key }) };
    Ok(match until {
        Until::Past(_) => CheckedOp::Remove { key, slot, kind: RemoveKind::Read },
        Until::Live(lifetime) if entry.lifetime() == lifetime => CheckedOp::Read { key },
        Until::Live(lifetime) => CheckedOp::SetLifetime { key, slot, lifetime, read: true },
    })
}
