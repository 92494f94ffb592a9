//! `HSCAN`: walks over the fields of a hash in the order of hashes of their names. A cursor is such a hash, so a walk needs nothing but the
//! number, whatever changes meanwhile: a field that is there from its beginning to its end is told once.

use super::arguments::Arguments;
use super::errors::syntax;
use super::glob;
use super::reply::Reply;
use crate::cache::Hash;
use bytes::Bytes;
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
    pattern: Option<Bytes>,
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
                "MATCH" => options.pattern = Some(arguments.next()?.clone()),
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
    let mut rest: Vec<(u64, u32)> = numbered.filter(|(order, _)| *order >= cursor).collect();
    let mut next = 0;
    if rest.len() > options.count && !is_small(hash) {
        let (_, (first_left, _), _) = rest.select_nth_unstable(options.count);
        let first_left = *first_left;
        // All with the same number come together.
        let end = match rest.iter().any(|(order, _)| *order < first_left) {
            true => first_left,
            false => first_left + 1,
        };
        if rest.iter().any(|(order, _)| *order >= end) {
            next = end;
        }
        rest.retain(|(order, _)| *order < end);
    }
    let is_wanted = |at: u32| match &options.pattern {
        None => true,
        Some(pattern) => hash.at(at as usize).is_some_and(|(name, _)| glob::matches(pattern, name)),
    };
    (rest.into_iter().map(|(_, at)| at).filter(|at| is_wanted(*at)).map(Some).collect(), next)
}

/// A number from 1 to 2^48, which clients can read exactly. It is the same on all nodes.
fn order(name: &[u8]) -> u64 {
    (xxh3_64(name) >> 16) + 1
}
