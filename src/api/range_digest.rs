//! Digests of ranges of keys.

use serde::{Deserialize, Serialize};

/// Answer of `GET /v1/digest/range`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeDigests {
    /// Neighbouring ranges, which have every key from the first one after `after`.
    pub ranges: Vec<RangeDigest>,
    /// Give it as `after` for the ranges that follow; `null` if none do.
    pub next: Option<String>,
    /// All entries up to this log index are in it. Later ones may be, for some ranges.
    pub index: u64,
}

/// A range of keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeDigest {
    /// Its keys come after the previous range's, up to this one; `null`: up to the last one with the prefix.
    pub until: Option<String>,
    pub keys: u64,
    /// The sum of its keys' hashes as 32 hexadecimal digits.
    pub digest: String,
}
