//! `INCREX`: adds to a number within bounds and sets its lifetime, in one operation. With `UBOUND`, `EX` and `ENX` it is a rate limiter.

use super::arguments::Arguments;
use super::errors::syntax;
use super::lifetimes::{Unit, of_new_value};
use super::number::parse_i64;
use super::plan::{Plan, Shape};
use super::reply::Reply;
use crate::cache::{Op, Step, Ttl, compare_decimals, is_decimal};
use bytes::Bytes;
use std::cmp::Ordering;

/// What was given, as words: the numbers are looked at once the options are known to fit together.
#[derive(Default)]
struct Options<'a> {
    by: Option<(Kind, &'a Bytes)>,
    lower: Option<&'a Bytes>,
    upper: Option<&'a Bytes>,
    saturates: bool,
    expiry: Option<Expiry<'a>>,
    keeps_deadline: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Integer,
    Decimal,
}

enum Expiry<'a> {
    Never,
    In(Unit, &'a Bytes),
}

/// `INCREX key [BYINT number | BYFLOAT number] [LBOUND number] [UBOUND number] [SATURATE] [EX s | PX ms | EXAT s | PXAT ms | PERSIST] [ENX]`
pub(super) fn increx(mut arguments: Arguments) -> Result<Plan, Reply> {
    let key = arguments.key()?;
    let options = Options::parse(&mut arguments)?;
    let step = options.step()?;
    let ttl = match options.expiry {
        None => None,
        Some(Expiry::Never) => Some(Ttl::Never),
        Some(Expiry::In(unit, text)) => Some(of_new_value(text, unit, "increx")?),
    };
    let (saturates, keeps_deadline) = (options.saturates, options.keeps_deadline);
    let shape = Shape::Sum { is_decimal: matches!(step, Step::Decimal { .. }) };
    Ok(Plan::one(Op::IncrWithin { key, step, saturates, ttl, keeps_deadline }, shape))
}

impl<'a> Options<'a> {
    /// Each option can be given once.
    fn parse(arguments: &mut Arguments<'a>) -> Result<Self, Reply> {
        let mut options = Self::default();
        while let Some(option) = arguments.option() {
            let is_new = match option.as_str() {
                "BYINT" => options.by.replace((Kind::Integer, arguments.next()?)).is_none(),
                "BYFLOAT" => options.by.replace((Kind::Decimal, arguments.next()?)).is_none(),
                "LBOUND" => options.lower.replace(arguments.next()?).is_none(),
                "UBOUND" => options.upper.replace(arguments.next()?).is_none(),
                "SATURATE" => !std::mem::replace(&mut options.saturates, true),
                "ENX" => !std::mem::replace(&mut options.keeps_deadline, true),
                "PERSIST" => options.expiry.replace(Expiry::Never).is_none(),
                option => match Unit::of_option(option) {
                    Some(unit) => options.expiry.replace(Expiry::In(unit, arguments.next()?)).is_none(),
                    None => false,
                },
            };
            if !is_new {
                return Err(syntax());
            }
        }
        match (options.keeps_deadline, &options.expiry) {
            (true, None) => Err(Reply::error("ERR ENX flag requires an expiration")),
            (true, Some(Expiry::Never)) => Err(syntax()),
            _ => Ok(options),
        }
    }

    fn step(&self) -> Result<Step, Reply> {
        let (kind, by) = match self.by {
            Some((kind, by)) => (kind, Some(by)),
            None => (Kind::Integer, None),
        };
        if kind == Kind::Integer {
            let read = |text: Option<&Bytes>, name: &str, default: i64| match text {
                Some(text) => parse_i64(text)
                    .ok_or_else(|| Reply::error(format!("ERR {name} is not an integer or out of range"))),
                None => Ok(default),
            };
            let by = read(by, "Increment", 1)?;
            let (lower, upper) =
                (read(self.lower, "LBOUND", i64::MIN)?, read(self.upper, "UBOUND", i64::MAX)?);
            return if lower > upper { Err(crossed()) } else { Ok(Step::Integer { by, lower, upper }) };
        }
        let text = by.map(|by| String::from_utf8_lossy(by).into_owned()).unwrap_or_default();
        if is_infinite(&text, "") || is_infinite(&text, "-") {
            return Err(Reply::error("ERR BYFLOAT increment cannot be Infinity"));
        }
        let by = decimal(text, "Increment")?;
        // A bound that is infinite is none.
        let bound = |text: Option<&Bytes>, name: &str, sign: &str| {
            let text = text.map(|text| String::from_utf8_lossy(text).into_owned());
            text.filter(|text| !is_infinite(text, sign)).map(|text| decimal(text, name)).transpose()
        };
        let (lower, upper) = (bound(self.lower, "LBOUND", "-")?, bound(self.upper, "UBOUND", "")?);
        match lower.as_ref().zip(upper.as_ref()).and_then(|(lower, upper)| compare_decimals(lower, upper)) {
            Some(Ordering::Greater) => Err(crossed()),
            _ => Ok(Step::Decimal { by, lower, upper }),
        }
    }
}

/// A decimal number that is not too large.
fn decimal(text: String, name: &str) -> Result<String, Reply> {
    match is_decimal(&text) && compare_decimals(&text, &text).is_some() {
        true => Ok(text),
        false => Err(Reply::error(format!("ERR {name} is not a valid float"))),
    }
}

fn is_infinite(text: &str, sign: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let unsigned =
        if sign.is_empty() { Some(text.strip_prefix('+').unwrap_or(&text)) } else { text.strip_prefix(sign) };
    unsigned.is_some_and(|text| ["inf", "infinity"].contains(&text))
}

fn crossed() -> Reply {
    Reply::error("ERR LBOUND can't be greater than UBOUND")
}
