//! Decimal numbers: 128-bit integers, scaled. No floats, so that every node computes the same.

use super::limits::DECIMAL_BYTES_MAX;
use std::cmp::Ordering;
use std::fmt;

/// Digits behind the point.
const FRACTION_DIGITS: usize = 17;
const ONE: i128 = 10i128.pow(FRACTION_DIGITS as u32);
/// All numbers are nearer to 0: 1.7e21.
const BOUND: i128 = 17 * 10i128.pow(20) * ONE;
/// More digits than this have no place in the number.
const DIGITS_MAX: i64 = 39;

/// A number, in units of 10^-17.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Decimal(i128);

/// Whether a decimal increment takes this text as a number, however large.
pub fn is_decimal(text: &str) -> bool {
    Decimal::parse(text.as_bytes()) != Err(DecimalError::Malformed)
}

/// How two such numbers compare; `None` if one of them is none, or too large.
pub fn compare_decimals(one: &str, other: &str) -> Option<Ordering> {
    let (one, other) = (Decimal::parse(one.as_bytes()), Decimal::parse(other.as_bytes()));
    Some(one.ok()?.cmp(&other.ok()?))
}

/// Why a text is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DecimalError {
    /// It is none.
    Malformed,
    /// It is too large.
    OutOfRange,
}

impl Decimal {
    pub const ZERO: Self = Self(0);
    pub const MIN: Self = Self(1 - BOUND);
    pub const MAX: Self = Self(BOUND - 1);

    /// Reads an optional sign, digits with an optional point, and an optional exponent. What is behind the last digit that has a
    /// place is rounded, halves away from zero.
    ///
    /// # Errors
    /// [`DecimalError`].
    pub fn parse(text: &[u8]) -> Result<Self, DecimalError> {
        if text.len() > DECIMAL_BYTES_MAX {
            return Err(DecimalError::Malformed);
        }
        let (is_negative, unsigned) = split_sign(text);
        let at = unsigned.iter().position(|byte| matches!(byte, b'e' | b'E'));
        let (mantissa, exponent) = match at {
            Some(at) => (&unsigned[..at], parse_exponent(&unsigned[at + 1..])?),
            None => (unsigned, 0),
        };
        let point = mantissa.iter().position(|byte| *byte == b'.');
        let (whole, fraction) = match point {
            Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
            None => (mantissa, &[][..]),
        };
        let digits: Vec<u8> = whole.iter().chain(fraction).copied().collect();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(DecimalError::Malformed);
        }
        let shift = exponent + FRACTION_DIGITS as i64 - fraction.len() as i64;
        let magnitude = scaled(&digits, shift)?;
        Self(if is_negative { -magnitude } else { magnitude }).in_range()
    }

    /// # Errors
    /// [`DecimalError::OutOfRange`].
    pub fn add(self, other: Self) -> Result<Self, DecimalError> {
        Self(self.0.checked_add(other.0).ok_or(DecimalError::OutOfRange)?).in_range()
    }

    /// # Errors
    /// [`DecimalError::OutOfRange`].
    pub fn subtract(self, other: Self) -> Result<Self, DecimalError> {
        self.add(Self(-other.0))
    }

    fn in_range(self) -> Result<Self, DecimalError> {
        if self.0.unsigned_abs() < BOUND.unsigned_abs() { Ok(self) } else { Err(DecimalError::OutOfRange) }
    }
}

fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

/// An exponent. One that is beyond every number is as good as any other such one.
fn parse_exponent(text: &[u8]) -> Result<i64, DecimalError> {
    let (is_negative, digits) = split_sign(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(DecimalError::Malformed);
    }
    const FAR: i64 = 1_000_000;
    let magnitude = digits.iter().fold(0, |sum: i64, digit| (sum * 10 + i64::from(digit - b'0')).min(FAR));
    Ok(if is_negative { -magnitude } else { magnitude })
}

/// The digits as a number, times 10^`shift`, rounded.
fn scaled(digits: &[u8], shift: i64) -> Result<i128, DecimalError> {
    let first = digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len());
    let digits = &digits[first..];
    if digits.is_empty() {
        return Ok(0);
    }
    let length = digits.len() as i64 + shift;
    if length > DIGITS_MAX {
        return Err(DecimalError::OutOfRange);
    }
    if length < 0 {
        return Ok(0);
    }
    let digit = |at: usize| digits.get(at).map_or(0, |digit| i128::from(digit - b'0'));
    let push = |number: i128, at: usize| number.checked_mul(10)?.checked_add(digit(at));
    let number = (0..length as usize).try_fold(0, push).ok_or(DecimalError::OutOfRange)?;
    Ok(number.saturating_add(i128::from(digit(length as usize) >= 5)))
}

/// Without zeros behind the last digit of a fraction, and without an exponent.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (one, magnitude) = (ONE.unsigned_abs(), self.0.unsigned_abs());
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}", magnitude / one)?;
        let fraction = format!("{:0>FRACTION_DIGITS$}", magnitude % one);
        match fraction.trim_end_matches('0') {
            "" => Ok(()),
            digits => write!(f, ".{digits}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_and_written() {
        for (text, written) in [
            ("0", "0"),
            ("-0", "0"),
            ("+3", "3"),
            ("003.50", "3.5"),
            (".5", "0.5"),
            ("5.", "5"),
            ("1e3", "1000"),
            ("1E-3", "0.001"),
            ("-2.5e+2", "-250"),
            ("5.0e3", "5000"),
            ("0.00000000000000001", "0.00000000000000001"),
            ("0.000000000000000005", "0.00000000000000001"),
            ("0.000000000000000004", "0"),
            ("-0.000000000000000005", "-0.00000000000000001"),
            ("123456789.12345678912345678999", "123456789.12345678912345679"),
            ("1e-400", "0"),
            ("0e999999999999999999999", "0"),
            ("1699999999999999999999.99999999999999999", "1699999999999999999999.99999999999999999"),
            ("-1.699999999999999999999e21", "-1699999999999999999999"),
        ] {
            let read = Decimal::parse(text.as_bytes());
            assert_eq!(read.map(|number| number.to_string()), Ok(written.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let malformed = [
            "", "-", "+", ".", "e5", "1e", "1e+", " 1", "1 ", "1_0", "0x10", "inf", "nan", "--1", "1.2.3",
            "1e1.5", "١",
        ];
        for text in malformed {
            assert_eq!(Decimal::parse(text.as_bytes()), Err(DecimalError::Malformed), "{text}");
        }
        assert_eq!(Decimal::parse(&[b'1'; DECIMAL_BYTES_MAX + 1]), Err(DecimalError::Malformed));
        for text in
            ["1.7e21", "-1.7e21", "1e22", "9e38", "1e400", "1e999999999999999999999", &"9".repeat(256)]
        {
            assert_eq!(Decimal::parse(text.as_bytes()), Err(DecimalError::OutOfRange), "{text}");
        }
    }

    #[test]
    fn sums_are_exact() {
        let sum = |one: &str, other: &str| {
            let parsed = [one, other].map(|text| Decimal::parse(text.as_bytes()).expect("a number"));
            parsed[0].add(parsed[1]).map(|sum| sum.to_string())
        };
        assert_eq!(sum("0.1", "0.2"), Ok("0.3".into()));
        assert_eq!(sum("3.0e3", "-5e3"), Ok("-2000".into()));
        assert_eq!(
            sum("1699999999999999999999", "0.00000000000000001"),
            Ok("1699999999999999999999.00000000000000001".into())
        );
        assert_eq!(Decimal::MAX.to_string(), "1699999999999999999999.99999999999999999");
        assert_eq!(Decimal::MAX.subtract(Decimal::MAX), Ok(Decimal::ZERO));
        assert_eq!(Decimal::MIN.subtract(Decimal::MAX), Err(DecimalError::OutOfRange));
        assert_eq!(compare_decimals("1e1", "9.5"), Some(Ordering::Greater));
        assert_eq!(compare_decimals("1", "x"), None);
        assert_eq!(sum("1699999999999999999999", "1"), Err(DecimalError::OutOfRange));
        assert_eq!(sum("-1.6e21", "-1.6e21"), Err(DecimalError::OutOfRange));
    }
}
