//! Commands about hashes. Those that read take the whole value, and say what they tell of it.

use super::arguments::Arguments;
use super::errors::{NOT_A_FLOAT, not_an_integer, out_of_range, syntax, wrong_arity};
use super::hash_scan::ScanOptions;
use super::hash_shape::HashShape;
use super::number::parse_i64;
use super::plan::{Plan, Shape};
use super::reply::Reply;
use super::walk::cursor_of;
use crate::cache::{Key, Op, is_decimal};
use bytes::Bytes;

type Planned = Result<Plan, Reply>;

fn plan(op: Op, shape: HashShape) -> Planned {
    Ok(Plan::one(op, Shape::Hash(shape)))
}

fn read(key: Key, shape: HashShape) -> Planned {
    plan(Op::Get { key }, shape)
}

/// The arguments that are left.
fn rest(arguments: &mut Arguments) -> Result<Vec<Bytes>, Reply> {
    let mut rest = Vec::with_capacity(arguments.len());
    while !arguments.is_empty() {
        rest.push(arguments.next()?.clone());
    }
    Ok(rest)
}

/// `HSET key field value [field value ...]`
pub(super) fn hset(arguments: Arguments) -> Planned {
    set(arguments, "hset", HashShape::Count)
}

pub(super) fn hmset(arguments: Arguments) -> Planned {
    set(arguments, "hmset", HashShape::Stored)
}

fn set(mut arguments: Arguments, command: &str, shape: HashShape) -> Planned {
    let key = arguments.key()?;
    if arguments.len() % 2 == 1 {
        return Err(wrong_arity(command));
    }
    let mut fields = Vec::with_capacity(arguments.len() / 2);
    while !arguments.is_empty() {
        fields.push((arguments.next()?.clone(), arguments.next()?.clone()));
    }
    plan(Op::SetFields { key, fields, only_new: false }, shape)
}

/// `HSETNX key field value`
pub(super) fn hsetnx(mut arguments: Arguments) -> Planned {
    let key = arguments.key()?;
    let fields = vec![(arguments.next()?.clone(), arguments.next()?.clone())];
    plan(Op::SetFields { key, fields, only_new: true }, HashShape::Count)
}

/// `HDEL key field [field ...]`
pub(super) fn hdel(mut arguments: Arguments) -> Planned {
    let key = arguments.key()?;
    plan(Op::DeleteFields { key, fields: rest(&mut arguments)? }, HashShape::Count)
}

/// `HINCRBY key field number`
pub(super) fn hincrby(mut arguments: Arguments) -> Planned {
    let (key, field) = (arguments.key()?, arguments.next()?.clone());
    plan(Op::IncrField { key, field, by: arguments.integer()? }, HashShape::Integer)
}

/// `HINCRBYFLOAT key field number`
pub(super) fn hincrbyfloat(mut arguments: Arguments) -> Planned {
    let (key, field) = (arguments.key()?, arguments.next()?.clone());
    let by = std::str::from_utf8(arguments.next()?).map_err(|_| Reply::error(NOT_A_FLOAT))?;
    if is_infinite(by) {
        return Err(Reply::error("ERR value is NaN or Infinity"));
    }
    if !is_decimal(by) {
        return Err(Reply::error(NOT_A_FLOAT));
    }
    plan(Op::IncrFieldDecimal { key, field, by: by.to_owned() }, HashShape::Decimal)
}

fn is_infinite(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    text.eq_ignore_ascii_case("inf") || text.eq_ignore_ascii_case("infinity")
}

pub(super) fn hget(mut arguments: Arguments) -> Planned {
    let key = arguments.key()?;
    read(key, HashShape::Value(arguments.next()?.clone()))
}

/// `HMGET key field [field ...]`
pub(super) fn hmget(mut arguments: Arguments) -> Planned {
    let key = arguments.key()?;
    read(key, HashShape::Values(rest(&mut arguments)?))
}

pub(super) fn hgetall(mut arguments: Arguments) -> Planned {
    read(arguments.key()?, HashShape::Map)
}

pub(super) fn hkeys(mut arguments: Arguments) -> Planned {
    read(arguments.key()?, HashShape::Names)
}

pub(super) fn hvals(mut arguments: Arguments) -> Planned {
    read(arguments.key()?, HashShape::AllValues)
}

pub(super) fn hexists(mut arguments: Arguments) -> Planned {
    let key = arguments.key()?;
    read(key, HashShape::Exists(arguments.next()?.clone()))
}

pub(super) fn hlen(mut arguments: Arguments) -> Planned {
    read(arguments.key()?, HashShape::Length)
}

pub(super) fn hstrlen(mut arguments: Arguments) -> Planned {
    let key = arguments.key()?;
    read(key, HashShape::ValueLength(arguments.next()?.clone()))
}

/// `HSCAN key cursor [MATCH pattern] [COUNT n] [NOVALUES]`. The options are looked at once the hash is found.
pub(super) fn hscan(mut arguments: Arguments) -> Planned {
    let key = arguments.key()?;
    let cursor = cursor_of(arguments.next()?)?;
    read(key, HashShape::Scan { cursor, options: ScanOptions::read(&mut arguments) })
}

/// `HRANDFIELD key [count [WITHVALUES]]`
pub(super) fn hrandfield(mut arguments: Arguments) -> Planned {
    let key = arguments.key()?;
    if arguments.is_empty() {
        return read(key, HashShape::RandomName);
    }
    let count = parse_i64(arguments.next()?).ok_or_else(not_an_integer)?;
    if count == i64::MIN {
        return Err(out_of_range(i64::MIN + 1, i64::MAX));
    }
    let with_values = match arguments.option().as_deref() {
        None => false,
        Some("WITHVALUES") => true,
        Some(_) => return Err(syntax()),
    };
    if !arguments.is_empty() {
        return Err(syntax());
    }
    if with_values && count.unsigned_abs() > i64::MAX.unsigned_abs() / 2 {
        return Err(Reply::error("ERR value is out of range"));
    }
    read(key, HashShape::Random { count, with_values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(planner: fn(Arguments) -> Planned, words: &[&str]) -> Planned {
        let words: Vec<Bytes> = words.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        planner(Arguments::new(&words, 0))
    }

    fn error(planner: fn(Arguments) -> Planned, words: &[&str]) -> String {
        match planned(planner, words) {
            Err(Reply::Error(text)) => text,
            other => panic!("{words:?} became {other:?}"),
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_anything_is_done() {
        assert_eq!(error(hset, &["h", "a", "1", "b"]), "ERR wrong number of arguments for 'hset' command");
        assert_eq!(error(hmset, &["h", "a", "1", "b"]), "ERR wrong number of arguments for 'hmset' command");
        for number in ["x", "1.5", "9223372036854775808", ""] {
            assert_eq!(error(hincrby, &["h", "a", number]), "ERR value is not an integer or out of range");
        }
        for number in ["x", "1 ", "", "nan"] {
            assert_eq!(error(hincrbyfloat, &["h", "a", number]), NOT_A_FLOAT);
        }
        for number in ["inf", "-Inf", "+INFINITY"] {
            assert_eq!(error(hincrbyfloat, &["h", "a", number]), "ERR value is NaN or Infinity");
        }
        assert_eq!(error(hrandfield, &["h", "1", "NOVALUES"]), "ERR syntax error");
        assert_eq!(error(hrandfield, &["h", "1", "WITHVALUES", "x"]), "ERR syntax error");
        assert_eq!(
            error(hrandfield, &["h", "-4611686018427387904", "withvalues"]),
            "ERR value is out of range"
        );
        assert!(error(hrandfield, &["h", "-9223372036854775808"]).starts_with("ERR value is out of range, "));
        assert_eq!(error(hscan, &["h", "x"]), "ERR invalid cursor");
    }
}
