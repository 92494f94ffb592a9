//! `append` and `set_range`: build a value out of the one that is there.

use super::check::{Check, Lookup};
use super::checked_op::{CheckedOp, StoreKind};
use crate::cache::limits::VALUE_BYTES_MAX;
use crate::cache::{CommandError, InvalidField, Key, Outcome, Ttl};

pub(super) fn check_append(check: &Check<'_>, key: Key, bytes: &[u8]) -> Result<CheckedOp, CommandError> {
    let found = check.find(&key);
    match found {
        Lookup::Live(_, entry) => check_splice(check, key, found, entry.record.bytes().len(), bytes),
        Lookup::Absent | Lookup::Expired(_) => check_splice(check, key, found, 0, bytes),
    }
}

pub(super) fn check_set_range(
    check: &Check<'_>,
    key: Key,
    offset: u64,
    bytes: &[u8],
) -> Result<CheckedOp, CommandError> {
    let found = check.find(&key);
    // What is longer than a value is refused below.
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    match found {
        Lookup::Absent | Lookup::Expired(_) if bytes.is_empty() => {
            Ok(CheckedOp::Nothing(Outcome::Length { revision: 0, bytes: 0 }))
        }
        _ => check_splice(check, key, found, offset, bytes),
    }
}

/// How long a value of this length is after bytes were written from an offset on; `None` if that is too long.
pub(super) fn spliced_length(length: usize, offset: usize, bytes: usize) -> Option<usize> {
    let end = offset.checked_add(bytes).filter(|end| *end <= VALUE_BYTES_MAX)?;
    Some(end.max(length))
}

fn check_splice(
    check: &Check<'_>,
    key: Key,
    found: Lookup<'_>,
    offset: usize,
    bytes: &[u8],
) -> Result<CheckedOp, CommandError> {
    let (before, content_type, lifetime) = match found {
        Lookup::Live(_, entry) if bytes.is_empty() => {
            let (revision, bytes) = (entry.revision.get(), check.string(entry)?.len() as u64);
            return Ok(CheckedOp::Nothing(Outcome::Length { revision, bytes }));
        }
        Lookup::Live(_, entry) => (check.string(entry)?, entry.record.content_type(), check.renewed(entry)),
        Lookup::Absent | Lookup::Expired(_) => (&[][..], None, check.lifetime(Ttl::Default)?),
    };
    let length = spliced_length(before.len(), offset, bytes.len());
    let length = length.ok_or_else(|| check.invalid(InvalidField::Value))?;
    let mut value = Vec::with_capacity(length);
    value.extend_from_slice(before);
    value.resize(length, 0);
    if let Some(part) = value.get_mut(offset..offset + bytes.len()) {
        part.copy_from_slice(bytes);
    }
    let record = check.packed(&key, &value, content_type);
    check.fits_alone(&record)?;
    Ok(CheckedOp::Store { key, slot: found.slot(), record, lifetime, kind: StoreKind::Length })
}
