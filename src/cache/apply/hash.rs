//! `set_fields`, `delete_fields`, `incr_field` and `incr_field_decimal`: change the fields of a hash. They keep its lifetime, and a hash
//! without fields is no key.

use super::check::{Check, Lookup};
use super::checked_op::{CheckedOp, RemoveKind, StoreKind};
use crate::cache::decimal::Decimal;
use crate::cache::entry::Entry;
use crate::cache::hash::{self, HASH_CONTENT_TYPE, Hash};
use crate::cache::limits::VALUE_BYTES_MAX;
use crate::cache::record::parse_counter;
use crate::cache::{CommandError, InvalidField, Key, Kind, Outcome, Ttl};
use bytes::Bytes;

/// A hash as it is before the operation.
#[derive(Clone, Copy)]
struct Before<'a> {
    found: Lookup<'a>,
    /// `None` if there is no such key.
    hash: Option<(u32, &'a Entry, Hash<'a>)>,
}

impl<'a> Before<'a> {
    fn hash(self) -> Option<Hash<'a>> {
        self.hash.map(|(.., hash)| hash)
    }

    fn revision(self) -> u64 {
        self.hash.map_or(0, |(_, entry, _)| entry.revision.get())
    }

    fn value(self, field: &[u8]) -> Option<&'a [u8]> {
        self.hash()?.get(field)
    }
}

fn before<'a>(check: &Check<'a>, key: &Key) -> Result<Before<'a>, CommandError> {
    let found = check.find(key);
    let Lookup::Live(slot, entry) = found else { return Ok(Before { found, hash: None }) };
    // What is marked as a hash was looked at when it came in. If it is none all the same, it is of no kind that we know.
    let hash = match entry.record.kind() {
        Kind::Hash => Hash::open(entry.record.bytes()),
        Kind::String => None,
    };
    let hash = hash.ok_or_else(|| check.wrong_kind())?;
    Ok(Before { found, hash: Some((slot, entry, hash)) })
}

pub(super) fn check_set(
    check: &Check<'_>,
    key: Key,
    fields: &[(Bytes, Bytes)],
    only_new: bool,
) -> Result<CheckedOp, CommandError> {
    let before = before(check, &key)?;
    let edited = hash::set(before.hash(), fields, only_new).ok_or_else(|| check.wrong_kind())?;
    if !edited.is_changed {
        return Ok(CheckedOp::Nothing(Outcome::Fields { revision: before.revision(), count: 0 }));
    }
    store(check, key, before, &edited.bytes, StoreKind::Fields(edited.count))
}

pub(super) fn check_delete(check: &Check<'_>, key: Key, names: &[Bytes]) -> Result<CheckedOp, CommandError> {
    let before = before(check, &key)?;
    let Some((slot, _, hash)) = before.hash else {
        return Ok(CheckedOp::Nothing(Outcome::Fields { revision: 0, count: 0 }));
    };
    let edited = hash::delete(hash, names).ok_or_else(|| check.wrong_kind())?;
    let count = edited.count;
    match (edited.is_changed, edited.bytes.is_empty()) {
        (false, _) => Ok(CheckedOp::Nothing(Outcome::Fields { revision: before.revision(), count: 0 })),
        (true, true) => Ok(CheckedOp::Remove { key, slot, kind: RemoveKind::Fields(count) }),
        (true, false) => store(check, key, before, &edited.bytes, StoreKind::Fields(count)),
    }
}

pub(super) fn check_incr(
    check: &Check<'_>,
    key: Key,
    field: Bytes,
    by: i64,
) -> Result<CheckedOp, CommandError> {
    let before = before(check, &key)?;
    let op = check.op_position();
    let start = match before.value(&field) {
        Some(value) => parse_counter(value).ok_or(CommandError::NotANumber { op })?,
        None => 0,
    };
    let sum = start.checked_add(by).ok_or(CommandError::Overflow { op })?;
    set_number(check, key, before, field, &sum.to_string(), StoreKind::Counter(sum))
}

pub(super) fn check_incr_decimal(
    check: &Check<'_>,
    key: Key,
    field: Bytes,
    by: &str,
) -> Result<CheckedOp, CommandError> {
    let before = before(check, &key)?;
    let refused = |error| check.decimal_error(error);
    let by = Decimal::parse(by.as_bytes()).map_err(refused)?;
    let start = before.value(&field).map_or(Ok(Decimal::ZERO), Decimal::parse).map_err(refused)?;
    let sum = start.add(by).map_err(refused)?;
    set_number(check, key, before, field, &sum.to_string(), StoreKind::Decimal(sum))
}

fn set_number(
    check: &Check<'_>,
    key: Key,
    before: Before<'_>,
    field: Bytes,
    text: &str,
    kind: StoreKind,
) -> Result<CheckedOp, CommandError> {
    let fields = [(field, Bytes::copy_from_slice(text.as_bytes()))];
    let edited = hash::set(before.hash(), &fields, false).ok_or_else(|| check.wrong_kind())?;
    store(check, key, before, &edited.bytes, kind)
}

fn store(
    check: &Check<'_>,
    key: Key,
    before: Before<'_>,
    bytes: &[u8],
    kind: StoreKind,
) -> Result<CheckedOp, CommandError> {
    if bytes.len() > VALUE_BYTES_MAX {
        return Err(check.invalid(InvalidField::Value));
    }
    let lifetime = match before.hash {
        Some((_, entry, _)) => check.renewed(entry),
        None => check.lifetime(Ttl::Default)?,
    };
    let record = check.packed(&key, bytes, Some(HASH_CONTENT_TYPE));
    check.fits_alone(&record)?;
    Ok(CheckedOp::Store { key, slot: before.found.slot(), record, lifetime, kind })
}
