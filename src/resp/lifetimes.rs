//! Times to live, as commands give them.

use super::arguments::Arguments;
use super::errors::{invalid_expiry, not_an_integer, syntax};
use super::number::parse_i64;
use super::reply::Reply;
use crate::cache::Ttl;
use crate::cache::limits::TTL_MS_MAX;
use crate::replica::wall_ms;
use bytes::Bytes;

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

    /// In milliseconds, unless that or its end is beyond what Redis counts with.
    fn in_ms(self, number: i64) -> Option<i64> {
        let ms = match self {
            Self::Seconds | Self::UnixSeconds => number.checked_mul(1_000)?,
            Self::Milliseconds | Self::UnixMilliseconds => number,
        };
        let begin = if self.is_absolute() { 0 } else { i64::try_from(wall_ms()).ok()? };
        ms.checked_add(begin).map(|_| ms)
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

/// What options say about a lifetime; the last one counts.
#[derive(Debug, Default)]
pub(super) struct Expiry<'a> {
    given: Option<Given<'a>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Given<'a> {
    Keep,
    Never,
    In(Unit, &'a Bytes),
}

impl<'a> Expiry<'a> {
    /// Takes an option, if it is about a lifetime.
    ///
    /// # Errors
    /// A syntax error: another kind was given before, or the number is missing.
    pub fn take(&mut self, option: &str, arguments: &mut Arguments<'a>) -> Result<bool, Reply> {
        let given = match option {
            "KEEPTTL" => Given::Keep,
            "PERSIST" => Given::Never,
            option => match Unit::of_option(option) {
                Some(unit) => Given::In(unit, arguments.next()?),
                None => return Ok(false),
            },
        };
        let fits = match (&self.given, &given) {
            (None, _) => true,
            (Some(Given::In(before, _)), Given::In(unit, _)) => before == unit,
            (Some(before), given) => before == given,
        };
        self.given = Some(given);
        if fits { Ok(true) } else { Err(syntax()) }
    }

    /// What was given; `None` if nothing.
    pub fn ttl(self, command: &str) -> Result<Option<Ttl>, Reply> {
        Ok(match self.given {
            None => None,
            Some(Given::Keep) => Some(Ttl::Keep),
            Some(Given::Never) => Some(Ttl::Never),
            Some(Given::In(unit, text)) => Some(of_new_value(text, unit, command)?),
        })
    }
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
