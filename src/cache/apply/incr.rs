//! `incr`: adds to a counter, an ordinary value whose bytes are a 64-bit number as text; `incr_decimal`: the same for decimal
//! numbers.

use super::check::{Check, Lookup};
use super::checked_op::{CheckedOp, StoreKind};
use crate::cache::decimal::{Decimal, DecimalError};
use crate::cache::entry::Entry;
use crate::cache::{CommandError, Condition, Key, Ttl};

pub(super) struct Amount {
    pub by: i64,
    pub initial: i64,
}

pub(super) fn check(
    check: &Check<'_>,
    key: Key,
    amount: Amount,
    ttl: Ttl,
    condition: &Condition,
) -> Result<CheckedOp, CommandError> {
    let new_lifetime = check.lifetime(ttl)?;
    let found = check.find(&key);
    check.condition(&key, found, condition)?;
    let (start, content_type, lifetime) = match found {
        Lookup::Absent | Lookup::Expired(_) => (amount.initial, None, new_lifetime),
        Lookup::Live(_, entry) => (number(check, entry)?, entry.record.content_type(), check.renewed(entry)),
    };
    let value = start.checked_add(amount.by).ok_or(CommandError::Overflow { op: check.op_position() })?;
    let record = check.packed(&key, value.to_string().as_bytes(), content_type);
    check.fits_alone(&record)?;
    Ok(CheckedOp::Store { key, slot: found.slot(), record, lifetime, kind: StoreKind::Counter(value) })
}

fn number(check: &Check<'_>, entry: &Entry) -> Result<i64, CommandError> {
    entry.record.counter().ok_or(CommandError::NotANumber { op: check.op_position() })
}

pub(super) fn check_decimal(check: &Check<'_>, key: Key, by: &str) -> Result<CheckedOp, CommandError> {
    let op = check.op_position();
    let refused = |error| match error {
        DecimalError::Malformed => CommandError::NotANumber { op },
        DecimalError::OutOfRange => CommandError::Overflow { op },
    };
    let by = Decimal::parse(by.as_bytes()).map_err(refused)?;
    let found = check.find(&key);
    let (start, content_type, lifetime) = match found {
        Lookup::Absent | Lookup::Expired(_) => (Decimal::ZERO, None, check.lifetime(Ttl::Default)?),
        Lookup::Live(_, entry) => {
            let start = Decimal::parse(entry.record.bytes()).map_err(refused)?;
            (start, entry.record.content_type(), check.renewed(entry))
        }
    };
    let value = start.add(by).map_err(refused)?;
    let record = check.packed(&key, value.to_string().as_bytes(), content_type);
    check.fits_alone(&record)?;
    Ok(CheckedOp::Store { key, slot: found.slot(), record, lifetime, kind: StoreKind::Decimal(value) })
}

/// Doubles a counter.
#[cfg(feature = "next-level")]
pub(super) fn check_double(check: &Check<'_>, key: Key) -> Result<CheckedOp, CommandError> {
    let by = match check.find(&key) {
        Lookup::Live(_, entry) => number(check, entry)?,
        Lookup::Absent | Lookup::Expired(_) => 0,
    };
    self::check(check, key, Amount { by, initial: 0 }, Ttl::Default, &Condition::Always)
}
