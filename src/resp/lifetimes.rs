//! Times to live, as commands give them.

use super::errors::{invalid_expiry, not_an_integer};
use super::number::parse_i64;
use super::reply::Reply;
use crate::cache::Ttl;
use crate::cache::limits::TTL_MS_MAX;

/// What a number of a lifetime counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
    /// Seconds since the Unix epoch.
    UnixSeconds,
    UnixMilliseconds,
}

impl Unit {
    /// From the option of `SET` and `GETEX`.
    pub fn of_option(option: &str) -> Option<Self> {
        Some(match option {
            "EX" => Self::Seconds,
            "PX" => Self::Milliseconds,
            "EXAT" => Self::UnixSeconds,
            "PXAT" => Self::UnixMilliseconds,
            _ => return None,
        })
    }

    fn in_ms(self, number: i64) -> Option<i64> {
        match self {
            Self::Seconds | Self::UnixSeconds => number.checked_mul(1_000),
            Self::Milliseconds | Self::UnixMilliseconds => Some(number),
        }
    }

    fn is_absolute(self) -> bool {
        matches!(self, Self::UnixSeconds | Self::UnixMilliseconds)
    }
}

/// The lifetime of a value that is stored: it is in the future, or at least may be.
pub(super) fn of_new_value(text: &[u8], unit: Unit, command: &str) -> Result<Ttl, Reply> {
    let number = parse_i64(text).ok_or_else(not_an_integer)?;
    let ms = unit.in_ms(number).filter(|ms| *ms > 0).ok_or_else(|| invalid_expiry(command))?;
    Ok(ttl(ms.unsigned_abs(), unit))
}

/// The lifetime of a key that is there. One that has ended removes it.
pub(super) fn of_key(number: i64, unit: Unit, command: &str) -> Result<Ttl, Reply> {
    let ms = unit.in_ms(number).ok_or_else(|| invalid_expiry(command))?;
    // The beginning of 1970 has passed.
    Ok(if ms > 0 { ttl(ms.unsigned_abs(), unit) } else { Ttl::At(1) })
}

fn ttl(ms: u64, unit: Unit) -> Ttl {
    if unit.is_absolute() { Ttl::At(ms) } else { Ttl::Ms(ms.min(TTL_MS_MAX)) }
}
