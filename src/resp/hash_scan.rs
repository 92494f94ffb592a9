//! `HSCAN`: walks over the fields of a hash in the order of hashes of their names. A cursor is such a hash, so a walk needs nothing but the
//! number, whatever changes meanwhile: a field that is there from its beginning to its end is told once.

use super::arguments::Arguments;
use super::errors::syntax;
use super::glob::Pattern;
use super::reply::Reply;
use crate::cache::Hash;
use xxhash_rust::xxh3::xxh3_64;

/// Fields that one call tells, unless their names have the same hash.
const FIELDS_MIN: usize = 128;
const FIELDS_MAX: usize = 1_024;
/// A hash with no more fields, and no longer names and values, is told at once, as by Redis.
const SMALL_FIELDS: usize = 512;
const SMALL_BYTES: usize = 64;

/// The options of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScanOptions {
    pattern: Option<Pattern>,
    count: usize,
    /// Whether values are told, too.
    pub values: bool,
}

impl ScanOptions {
    /// `[MATCH pattern] [COUNT n] [NOVALUES]`
    pub fn read(arguments: &mut Arguments) -> Result<Self, Reply> {
        let mut options = Self { pattern: None, count: FIELDS_MIN, values: true };
        while let Some(option) = arguments.option() {
            match option.as_str() {
                "MATCH" => options.pattern = Some(Pattern::parse(arguments.next()?)?),
                "COUNT" => {
                    let count = arguments.integer()?;
                    if count < 1 {
                        return Err(syntax());
                    }
                    options.count =
                        usize::try_from(count).unwrap_or(FIELDS_MAX).clamp(FIELDS_MIN, FIELDS_MAX);
                }
                "NOVALUES" => options.values = false,
                _ => return Err(syntax()),
            }
        }
        Ok(options)
    }
}

/// Whether Redis would keep it in one piece.
pub(super) fn is_small(hash: Hash<'_>) -> bool {
    hash.len() <= SMALL_FIELDS
        && hash.fields().all(|(name, value)| name.len() <= SMALL_BYTES && value.len() <= SMALL_BYTES)
}

/// The places of the next fields from a cursor on, and the cursor to go on from; 0 at the end.
pub(super) fn scan(hash: Hash<'_>, cursor: u64, options: &ScanOptions) -> (Vec<Option<u32>>, u64) {
    let numbered = (0u32..).zip(hash.fields()).map(|(at, (name, _))| (order(name), at));
    let rest: Vec<(u64, u32)> = numbered.filter(|(order, _)| *order >= cursor).collect();
    let count = if is_small(hash) { rest.len() } else { options.count };
    let (rest, next) = first(rest, count);
    let is_wanted = |at: u32| match &options.pattern {
        None => true,
        Some(pattern) => hash.at(at as usize).is_some_and(|(name, _)| pattern.matches(name)),
    };
    (rest.into_iter().map(|(_, at)| at).filter(|at| is_wanted(*at)).map(Some).collect(), next)
}

/// So many with the least numbers, with all that have the same number as one of these, and the number to go on from; 0 at the end.
fn first(mut rest: Vec<(u64, u32)>, count: usize) -> (Vec<(u64, u32)>, u64) {
    if rest.len() <= count {
        return (rest, 0);
    }
    let (_, (left, _), _) = rest.select_nth_unstable(count);
    let left = *left;
    // All with the same number come together.
    let end = if rest.iter().any(|(order, _)| *order < left) { left } else { left + 1 };
    let before = rest.len();
    rest.retain(|(order, _)| *order < end);
    let next = if rest.len() < before { end } else { 0 };
    (rest, next)
}

/// A number from 1 to 2^48, which clients can read exactly. It is the same on all nodes.
fn order(name: &[u8]) -> u64 {
    (xxh3_64(name) >> 16) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The bytes of a hash with these fields, whose values are too long for a small one.
    fn hash(names: &BTreeSet<u32>) -> Vec<u8> {
        let (mut ends, mut fields) = (Vec::new(), Vec::new());
        for name in names {
            fields.push(4);
            fields.extend(name.to_be_bytes());
            fields.extend([b'x'; SMALL_BYTES + 1]);
            ends.extend((fields.len() as u32).to_le_bytes());
        }
        [&[1][..], &(names.len() as u32).to_le_bytes(), &ends, &fields].concat()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

        #[test]
        fn what_stays_is_told_once(
            stays in prop::collection::btree_set(0..2_000u32, 1..900),
            comes_and_goes in prop::collection::btree_set(2_000..4_000u32, 0..900),
        ) {
            let all: BTreeSet<u32> = stays.union(&comes_and_goes).copied().collect();
            let (some, all) = (hash(&stays), hash(&all));
            let options = ScanOptions { pattern: None, count: FIELDS_MIN, values: true };
            let (mut told, mut cursor) = (Vec::new(), 0);
            for round in 0.. {
                let bytes = if round % 2 == 0 { &some } else { &all };
                let found = Hash::read(bytes).unwrap();
                let (places, next) = scan(found, cursor, &options);
                prop_assert!(places.len() <= FIELDS_MIN);
                let names = places.into_iter().map(|place| found.at(place.unwrap() as usize).unwrap().0);
                told.extend(names.map(|name| u32::from_be_bytes(name.try_into().unwrap())));
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
            told.retain(|name| *name < 2_000);
            told.sort_unstable();
            prop_assert_eq!(told, stays.into_iter().collect::<Vec<u32>>());
        }

        /// Few numbers, so that many have the same.
        #[test]
        fn fields_with_the_same_number_come_together(
            orders in prop::collection::vec(1..6u64, 0..40), count in 1..8usize,
        ) {
            let all: Vec<(u64, u32)> = orders.into_iter().zip(0..).collect();
            let (mut told, mut cursor) = (Vec::new(), 0);
            loop {
                let rest = all.iter().copied().filter(|(order, _)| *order >= cursor).collect();
                let (page, next) = first(rest, count);
                prop_assert!(!page.is_empty() || all.is_empty());
                told.extend(page);
                if next == 0 {
                    break;
                }
                prop_assert!(next > cursor);
                cursor = next;
            }
            told.sort_unstable_by_key(|(_, at)| *at);
            prop_assert_eq!(told, all);
        }
    }

    #[test]
    fn a_small_hash_is_told_at_once_and_by_its_pattern() {
        let bytes = b"\x01\x02\0\0\0\x03\0\0\0\x05\0\0\0\x01a1\x01b";
        let hash = Hash::read(bytes).unwrap();
        let options = |pattern: Option<&'static str>| ScanOptions {
            pattern: pattern.map(|pattern| Pattern::parse(pattern.as_bytes()).unwrap()),
            count: 1,
            values: true,
        };
        let (mut places, next) = scan(hash, 0, &options(None));
        places.sort_unstable();
        assert_eq!((places, next), (vec![Some(0), Some(1)], 0));
        assert_eq!(scan(hash, 0, &options(Some("[b-z]"))), (vec![Some(1)], 0));
        assert_eq!(scan(hash, u64::MAX, &options(None)), (Vec::new(), 0));
    }
}
