//! `incr`: adds to a counter, an ordinary value whose bytes are a 64-bit number as text; `incr_decimal`: the same for decimal
//! numbers.

use super::check::{Check, Lookup};
use super::checked_op::{CheckedOp, StoreKind};
use crate::cache::decimal::Decimal;
use crate::cache::entry::Entry;
use crate::cache::record::parse_counter;
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

/// The counter that an entry has.
pub(super) fn number(check: &Check<'_>, entry: &Entry) -> Result<i64, CommandError> {
    parse_counter(check.string(entry)?).ok_or(CommandError::NotANumber { op: check.op_position() })
}

pub(super) fn check_decimal(check: &Check<'_>, key: Key, by: &str) -> Result<CheckedOp, CommandError> {
    let refused = |error| check.decimal_error(error);
    let found = check.find(&key);
    let before = match found {
        Lookup::Live(_, entry) => Some((entry, check.string(entry)?)),
        Lookup::Absent | Lookup::Expired(_) => None,
    };
    let by = Decimal::parse(by.as_bytes()).map_err(refused)?;
    let (start, content_type, lifetime) = match before {
        None => (Decimal::ZERO, None, check.lifetime(Ttl::Default)?),
        Some((entry, bytes)) => {
            let start = Decimal::parse(bytes).map_err(refused)?;
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
