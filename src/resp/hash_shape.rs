//! What is told of a hash: from the outcome of an operation to a reply.

use super::errors::{NOT_FINITE, TOO_MUCH, WRONG_KIND, of_command};
use super::hash_reply::{Form, HashReply};
use super::hash_scan::{ScanOptions, scan};
use super::random::Random;
use super::reply::Reply;
use crate::cache::{CommandError, Hash, Kind, Outcome, Value};
use bytes::Bytes;

/// Bytes of one answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How many fields can be asked for where each may come more than once.
const REPEATED_MAX: u64 = 131_072;
/// Bytes that are kept for such a field until it is sent.
const PLACE_BYTES: usize = size_of::<Option<u32>>();

/// How the outcome of an operation on a hash becomes a command's reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HashShape {
    /// How many fields are new, or are gone.
    Count,
    /// `OK`.
    Stored,
    Integer,
    Decimal,
    /// The value of a field.
    Value(Bytes),
    /// The values of several fields.
    Values(Vec<Bytes>),
    /// All names and values.
    Map,
    Names,
    AllValues,
    /// Whether there is such a field.
    Exists(Bytes),
    /// The length of a field's value.
    ValueLength(Bytes),
    /// How many fields there are.
    Length,
    /// A part of the fields, and where to go on.
    Scan {
        cursor: u64,
        options: Result<ScanOptions, Reply>,
    },
    /// The name of any field.
    RandomName,
    /// So many fields; a negative number is that of fields that may repeat.
    Random {
        count: i64,
        with_values: bool,
    },
}

impl HashShape {
    /// The reply to an operation that was carried out.
    pub fn reply(&self, outcome: &Outcome) -> Reply {
        match (self, outcome) {
            (Self::Count, Outcome::Fields { count, .. }) => integer(*count),
            (Self::Stored, Outcome::Fields { .. }) => Reply::OK,
            (Self::Integer, Outcome::Counter { value, .. }) => Reply::Integer(*value),
            (Self::Decimal, Outcome::Decimal { text, .. }) => Reply::bulk(text),
            (_, Outcome::Got(None)) => self.of_nothing(),
            (_, Outcome::Got(Some(found))) => match hash_of(&found.value) {
                Some(hash) => self.of_hash(&found.value.bytes, hash),
                None => Reply::error(WRONG_KIND),
            },
            // A plan has the operations of its shape.
            _ => Reply::error("ERR the outcome is of another kind than the command"),
        }
    }

    /// The reply to one that was refused.
    pub fn error(&self, error: &CommandError) -> Reply {
        match (self, error) {
            (Self::Integer, CommandError::NotANumber { .. }) => {
                Reply::error("ERR hash value is not an integer")
            }
            (Self::Decimal, CommandError::NotANumber { .. }) => Reply::error("ERR hash value is not a float"),
            (Self::Decimal, CommandError::Overflow { .. }) => Reply::error(NOT_FINITE),
            (_, error) => of_command(error),
        }
    }

    /// About how many bytes the reply takes until it is sent.
    pub fn bytes_told(&self, value: &Value) -> usize {
        let Some(hash) = hash_of(value) else { return 0 };
        let all = || HashReply::new(value.bytes.clone(), None, Form::Map).map_or(0, |all| all.bytes());
        match self {
            Self::Value(name) => hash.get(name).map_or(0, <[u8]>::len),
            Self::Values(names) => {
                let told = names.iter().map(|name| hash.get(name).map_or(0, <[u8]>::len)).sum();
                value.bytes.len().max(told)
            }
            Self::Map | Self::Names | Self::AllValues | Self::Scan { .. } => all(),
            Self::Random { count, .. } if *count < 0 => {
                let one = all() / hash.len() + PLACE_BYTES;
                one.saturating_mul(usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX))
                    .min(ANSWER_BYTES_MAX)
            }
            Self::Random { .. } => all(),
            _ => 0,
        }
    }

    /// Bytes that a reply may take beyond what the value and the command have.
    pub fn extra_bytes(&self) -> usize {
        match self {
            Self::Random { count, .. } if *count < 0 => {
                PLACE_BYTES * usize::try_from(count.unsigned_abs().min(REPEATED_MAX)).unwrap_or(usize::MAX)
            }
            _ => 0,
        }
    }

    /// What a key that is not there is told as.
    fn of_nothing(&self) -> Reply {
        match self {
            Self::Value(_) | Self::RandomName => Reply::Null,
            Self::Values(names) => Reply::Array(vec![Reply::Null; names.len()]),
            Self::Map => Reply::Map(Vec::new()),
            Self::Names | Self::AllValues | Self::Random { .. } => Reply::Array(Vec::new()),
            Self::Scan { .. } => Reply::Array(vec![Reply::bulk("0"), Reply::Array(Vec::new())]),
            _ => Reply::Integer(0),
        }
    }

    fn of_hash(&self, value: &Bytes, hash: Hash<'_>) -> Reply {
        match self {
            Self::Value(name) => hash.get(name).map_or(Reply::Null, |found| Reply::Bulk(part(value, found))),
            Self::Values(names) => {
                let places = names.iter().map(|name| hash.place(name).and_then(place)).collect();
                told(value, Some(places), Form::Values)
            }
            Self::Map => told(value, None, Form::Map),
            Self::Names => told(value, None, Form::Names),
            Self::AllValues => told(value, None, Form::Values),
            Self::Exists(name) => Reply::from(hash.get(name).is_some()),
            Self::ValueLength(name) => integer(hash.get(name).map_or(0, <[u8]>::len) as u64),
            Self::Length => integer(hash.len() as u64),
            Self::Scan { options: Err(refused), .. } => refused.clone(),
            Self::Scan { cursor, options: Ok(options) } => {
                let (places, next) = scan(hash, *cursor, options);
                let form = if options.values { Form::Flat } else { Form::Names };
                Reply::Array(vec![Reply::bulk(next.to_string()), told(value, Some(places), form)])
            }
            Self::RandomName => {
                let found = hash.at(Random::new().below(hash.len()));
                found.map_or(Reply::Null, |(name, _)| Reply::Bulk(part(value, name)))
            }
            Self::Random { count, with_values } => {
                let form = if *with_values { Form::Pairs } else { Form::Names };
                match random_places(hash.len(), *count) {
                    Some(places) => told(value, Some(places), form),
                    None => Reply::error(TOO_MUCH),
                }
            }
            _ => Reply::error("ERR the outcome is of another kind than the command"),
        }
    }
}

fn hash_of(value: &Value) -> Option<Hash<'_>> {
    (value.kind() == Kind::Hash).then(|| Hash::open(&value.bytes))?
}

fn integer(number: u64) -> Reply {
    Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn place(at: usize) -> Option<u32> {
    u32::try_from(at).ok()
}

/// Some fields, or all.
fn told(value: &Bytes, places: Option<Vec<Option<u32>>>, form: Form) -> Reply {
    match HashReply::new(value.clone(), places, form) {
        Some(reply) if reply.bytes() <= ANSWER_BYTES_MAX => Reply::Fields(reply),
        Some(_) => Reply::error(TOO_MUCH),
        None => Reply::error(WRONG_KIND),
    }
}

/// A part of a value. A small one does not keep the whole value in memory.
fn part(value: &Bytes, part: &[u8]) -> Bytes {
    if part.len() >= value.len() / 4 { value.slice_ref(part) } else { Bytes::copy_from_slice(part) }
}

/// Places of so many different fields, or of so many that may repeat. `None`: that is too many.
fn random_places(fields: usize, count: i64) -> Option<Vec<Option<u32>>> {
    let mut random = Random::new();
    let wanted = count.unsigned_abs();
    if count < 0 {
        return (wanted <= REPEATED_MAX).then(|| (0..wanted).map(|_| place(random.below(fields))).collect());
    }
    let mut all: Vec<Option<u32>> = (0..fields).map(place).collect();
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    if wanted < fields {
        (0..wanted).for_each(|at| all.swap(at, at + random.below(fields - at)));
        all.truncate(wanted);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn random_fields_are_as_many_as_asked_for() {
        let places = |fields, count| random_places(fields, count).unwrap();
        for (fields, count, told) in
            [(5, 0, 0), (5, 3, 3), (5, 5, 5), (5, 9, 5), (5, i64::MAX, 5), (1, -4, 4), (7, -90, 90)]
        {
            let told_places = places(fields, count);
            assert_eq!(told_places.len(), told, "{count} of {fields}");
            assert!(told_places.iter().all(|place| place.is_some_and(|place| (place as usize) < fields)));
            let different: BTreeSet<_> = told_places.into_iter().collect();
            assert!(count < 0 || different.len() == told, "{count} of {fields}");
        }
        assert_eq!(random_places(5, -(REPEATED_MAX as i64) - 1), None);
        assert_eq!(random_places(5, i64::MIN + 1), None);
        // Each comes sooner or later: by chance, one of three is missing in 200 with a probability of 1e-34.
        for count in [1, -1] {
            let seen: BTreeSet<_> = (0..200).flat_map(|_| places(3, count)).collect();
            assert_eq!(seen.len(), 3);
        }
    }

    #[test]
    fn a_small_part_does_not_keep_a_large_value() {
        let value = Bytes::from(vec![7; 1_000]);
        let (small, large) = (part(&value, &value[10..20]), part(&value, &value[..900]));
        assert_eq!((small.len(), large.len()), (10, 900));
        assert!(!value.as_ptr_range().contains(&small.as_ptr()) && large.as_ptr() == value.as_ptr());
    }
}
