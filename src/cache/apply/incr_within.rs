//! `incr_within`: adds to a number if the sum lies within bounds.

use super::check::{Check, Lookup, Until};
use super::checked_op::{CheckedOp, RemoveKind, StoreKind};
use super::incr;
use crate::cache::decimal::Decimal;
use crate::cache::{CommandError, Key, Outcome, Step, Ttl};
use std::fmt;

/// What the lifetime becomes.
pub(super) struct NewLifetime {
    /// `None`: as it was.
    pub ttl: Option<Ttl>,
    /// A deadline that is there stays.
    pub keeps_deadline: bool,
}

/// A number now, and what was added to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sum {
    value: Number,
    added: Number,
}

#[derive(Debug, Clone, Copy)]
enum Number {
    Integer(i64),
    Decimal(Decimal),
}

pub(super) fn check(
    check: &Check<'_>,
    key: Key,
    step: &Step,
    saturates: bool,
    lifetime: NewLifetime,
) -> Result<CheckedOp, CommandError> {
    let found = check.find(&key);
    let live = match found {
        Lookup::Live(slot, entry) => Some((slot, entry)),
        Lookup::Absent | Lookup::Expired(_) => None,
    };
    let asked = lifetime.ttl.map(|ttl| check.until(ttl, found)).transpose()?;
    let entry = live.map(|(_, entry)| entry);
    if let Some(entry) = entry {
        check.string(entry)?;
    }
    let (sum, is_within) = match step {
        Step::Integer { by, lower, upper } => {
            let start = entry.map_or(Ok(0), |entry| incr::number(check, entry))?;
            add(check, start, *by, (*lower, *upper), saturates)?
        }
        Step::Decimal { by, lower, upper } => {
            let parse = |text: &[u8]| Decimal::parse(text).map_err(|error| check.decimal_error(error));
            let bound = |text: &Option<String>| text.as_ref().map(|text| parse(text.as_bytes())).transpose();
            let start = entry.map_or(Ok(Decimal::ZERO), |entry| parse(entry.record.bytes()))?;
            let bounds = (bound(lower)?.unwrap_or(Decimal::MIN), bound(upper)?.unwrap_or(Decimal::MAX));
            add_decimal(check, start, parse(by.as_bytes())?, bounds, saturates)?
        }
    };
    if !is_within {
        return Ok(CheckedOp::Nothing(sum.outcome(entry.map_or(0, |entry| entry.revision.get()))));
    }
    let until = match (asked, entry) {
        (Some(_), Some(entry)) if lifetime.keeps_deadline && entry.expires_at_ms().is_some() => {
            Until::Live(check.renewed(entry))
        }
        (Some(until), _) => until,
        (None, Some(entry)) => Until::Live(check.renewed(entry)),
        (None, None) => Until::Live(check.lifetime(Ttl::Default)?),
    };
    let content_type = entry.and_then(|entry| entry.record.content_type());
    let record = check.packed(&key, sum.value.to_string().as_bytes(), content_type);
    check.fits_alone(&record)?;
    Ok(match (until, live) {
        (Until::Live(lifetime), _) => {
            CheckedOp::Store { key, slot: found.slot(), record, lifetime, kind: StoreKind::Sum(sum) }
        }
        (Until::Past(_), Some((slot, _))) => CheckedOp::Remove { key, slot, kind: RemoveKind::Sum(sum) },
        (Until::Past(_), None) => CheckedOp::Nothing(sum.outcome(0)),
    })
}

/// The sum, and whether it is stored.
fn add(
    check: &Check<'_>,
    start: i64,
    by: i64,
    (lower, upper): (i64, i64),
    saturates: bool,
) -> Result<(Sum, bool), CommandError> {
    let sum = i128::from(start) + i128::from(by);
    let is_within = (i128::from(lower)..=i128::from(upper)).contains(&sum);
    if !is_within && !saturates {
        return Ok((Sum { value: Number::Integer(start), added: Number::Integer(0) }, false));
    }
    // Within the bounds it is a number of 64 bits.
    let value = i64::try_from(sum.max(lower.into()).min(upper.into())).unwrap_or(upper);
    let added = value.checked_sub(start).ok_or(CommandError::Overflow { op: check.op_position() })?;
    Ok((Sum { value: Number::Integer(value), added: Number::Integer(added) }, true))
}

/// The same for decimal numbers.
fn add_decimal(
    check: &Check<'_>,
    start: Decimal,
    by: Decimal,
    (lower, upper): (Decimal, Decimal),
    saturates: bool,
) -> Result<(Sum, bool), CommandError> {
    let sum = start.add(by).ok();
    let is_within = sum.is_some_and(|sum| (lower..=upper).contains(&sum));
    if !is_within && !saturates {
        return Ok((Sum { value: Number::Decimal(start), added: Number::Decimal(Decimal::ZERO) }, false));
    }
    let beyond = if by < Decimal::ZERO { Decimal::MIN } else { Decimal::MAX };
    let value = sum.unwrap_or(beyond).max(lower).min(upper);
    let added = value.subtract(start).map_err(|error| check.decimal_error(error))?;
    Ok((Sum { value: Number::Decimal(value), added: Number::Decimal(added) }, true))
}

impl Sum {
    pub fn outcome(self, revision: u64) -> Outcome {
        Outcome::Sum { revision, value: self.value.to_string(), added: self.added.to_string() }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => number.fmt(f),
            Self::Decimal(number) => number.fmt(f),
        }
    }
}
