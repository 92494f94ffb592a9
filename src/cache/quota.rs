//! How much somebody may use of something in how long. The state keeps quotas with tokens, so that all nodes know the same ones. What
//! is used of them, each node counts for itself.

use super::limits::{QUOTA_COUNT_MAX, QUOTA_WINDOW_MS_MAX};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// So many in so long, as `100/15m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// From 1 to [`QUOTA_COUNT_MAX`].
    pub count: u64,
    /// From 1 to [`QUOTA_WINDOW_MS_MAX`].
    pub window_ms: u64,
}

impl Quota {
    pub fn is_valid(&self) -> bool {
        (1..=QUOTA_COUNT_MAX).contains(&self.count) && (1..=QUOTA_WINDOW_MS_MAX).contains(&self.window_ms)
    }
}

/// Units of time, the longest first.
const UNITS_MS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl FromStr for Quota {
    type Err = &'static str;

    /// `COUNT/TIME`; the time is a number of `ms`, `s`, `m` or `h`, or a unit alone.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected COUNT/TIME, as 100/15m: a count from 1, and a time from 1ms to 24h";
        let (count, time) = text.split_once('/').ok_or(EXPECTED)?;
        let (number, unit) = time.split_at(time.find(|c: char| !c.is_ascii_digit()).ok_or(EXPECTED)?);
        let (_, unit_ms) = UNITS_MS.iter().find(|(name, _)| *name == unit).ok_or(EXPECTED)?;
        let number: u64 = if number.is_empty() { 1 } else { number.parse().map_err(|_| EXPECTED)? };
        let window_ms = number.checked_mul(*unit_ms).ok_or(EXPECTED)?;
        let quota = Self { count: count.parse().map_err(|_| EXPECTED)?, window_ms };
        if quota.is_valid() { Ok(quota) } else { Err(EXPECTED) }
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, unit_ms): &&(&str, u64)| self.window_ms.is_multiple_of(*unit_ms);
        let (name, unit_ms) = UNITS_MS.iter().find(fits).unwrap_or(&("ms", 1));
        write!(f, "{}/{}{name}", self.count, self.window_ms / unit_ms)
    }
}

/// What the holder of a token may use of each node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenLimits {
    /// Requests; `null` is as many as they like.
    pub requests: Option<Quota>,
    /// Bytes in the bodies of requests; `null` is as many as they like.
    pub body_bytes: Option<Quota>,
}

impl TokenLimits {
    pub fn are_valid(&self) -> bool {
        [self.requests, self.body_bytes].iter().flatten().all(Quota::is_valid)
    }

    /// For the digest.
    pub(super) fn words(&self) -> [u64; 4] {
        let words = |quota: Option<Quota>| quota.map_or([0, 0], |quota| [quota.count, quota.window_ms]);
        let ([count, window], [bytes, bytes_window]) = (words(self.requests), words(self.body_bytes));
        [count, window, bytes, bytes_window]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_a_count_and_a_time() {
        for (text, count, window_ms) in [
            ("100/15m", 100, 900_000),
            ("1/1ms", 1, 1),
            ("5000000/1s", 5_000_000, 1_000),
            ("7/24h", 7, 86_400_000),
            ("7/1500ms", 7, 1_500),
        ] {
            let quota = Quota { count, window_ms };
            assert_eq!((text.parse(), quota.to_string().as_str()), (Ok(quota), text));
        }
        assert_eq!("5/s".parse(), Ok(Quota { count: 5, window_ms: 1_000 }));
        let wrong = ["", "5", "5/", "/s", "0/s", "5/0s", "5/25h", "-5/s", "5/1.5s", "5/s ", "5/1d"];
        for text in wrong.iter().copied().chain(["5/99999999999999999999h", "99999999999999999999/s"]) {
            assert!(text.parse::<Quota>().is_err(), "{text}");
        }
    }
}
