//! Commands about values.

use super::arguments::Arguments;
use super::errors::{NOT_A_FLOAT, NOT_FINITE, syntax};
use super::lifetimes::{Expiry, Unit, of_new_value};
use super::plan::{Plan, Shape};
use super::reply::Reply;
use crate::cache::{Condition, Key, Op, Ttl, Value};
use bytes::Bytes;

type Planned = Result<Plan, Reply>;

fn value(bytes: &Bytes) -> Value {
    Value { bytes: bytes.clone(), content_type: None }
}

pub(super) fn put(key: Key, bytes: &Bytes, ttl: Ttl, condition: Condition) -> Op {
    Op::Put { key, value: value(bytes), ttl, condition, previous: false }
}

/// The same condition where the value from before is told: a hash has none to tell. (Who asks for an absent key is told by the refusal
/// itself what is there.)
fn of_string(condition: Condition) -> Condition {
    match condition {
        Condition::Always => Condition::NoHash,
        Condition::Present => Condition::PresentNoHash,
        other => other,
    }
}

pub(super) fn get(mut arguments: Arguments) -> Planned {
    Ok(Plan::one(Op::Get { key: arguments.key()? }, Shape::Value))
}

/// `SET key value [NX | XX | IFEQ value | IFNE value | IFDEQ digest | IFDNE digest] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]`
pub(super) fn set(mut arguments: Arguments) -> Planned {
    let (key, bytes) = (arguments.key()?, arguments.next()?);
    let (mut condition, mut expiry, mut previous) = (None, Expiry::default(), false);
    while let Some(option) = arguments.option() {
        let wanted = match option.as_str() {
            "NX" => Condition::Absent,
            "XX" => Condition::Present,
            "IFEQ" => Condition::ValueIs(arguments.next()?.clone()),
            "IFNE" => Condition::ValueIsNot(arguments.next()?.clone()),
            "IFDEQ" => Condition::DigestIs(digest_of(arguments.next()?)?),
            "IFDNE" => Condition::DigestIsNot(digest_of(arguments.next()?)?),
            "GET" => {
                previous = true;
                continue;
            }
            "PERSIST" => return Err(syntax()),
            option => match expiry.take(option, &mut arguments)? {
                true => continue,
                false => return Err(syntax()),
            },
        };
        if condition.as_ref().is_some_and(|before| *before != wanted) {
            return Err(syntax());
        }
        condition = Some(wanted);
    }
    let shape = if previous { Shape::Previous } else { Shape::Stored };
    let (ttl, condition) =
        (expiry.ttl("set")?.unwrap_or(Ttl::Default), condition.unwrap_or(Condition::Always));
    let condition = if previous { of_string(condition) } else { condition };
    Ok(Plan::one(Op::Put { key, value: value(bytes), ttl, condition, previous }, shape))
}

/// `SETEX key seconds value`
pub(super) fn setex(arguments: Arguments) -> Planned {
    set_for(arguments, Unit::Seconds, "setex")
}

/// `PSETEX key milliseconds value`
pub(super) fn psetex(arguments: Arguments) -> Planned {
    set_for(arguments, Unit::Milliseconds, "psetex")
}

fn set_for(mut arguments: Arguments, unit: Unit, command: &str) -> Planned {
    let key = arguments.key()?;
    let ttl = of_new_value(arguments.next()?, unit, command)?;
    Ok(Plan::one(put(key, arguments.next()?, ttl, Condition::Always), Shape::Stored))
}

pub(super) fn setnx(mut arguments: Arguments) -> Planned {
    let key = arguments.key()?;
    Ok(Plan::one(put(key, arguments.next()?, Ttl::Default, Condition::Absent), Shape::WasStored))
}

pub(super) fn getset(mut arguments: Arguments) -> Planned {
    let (key, bytes) = (arguments.key()?, arguments.next()?);
    let (value, ttl, condition) = (value(bytes), Ttl::Default, of_string(Condition::Always));
    let op = Op::Put { key, value, ttl, condition, previous: true };
    Ok(Plan::one(op, Shape::Previous))
}

pub(super) fn getdel(mut arguments: Arguments) -> Planned {
    let op = Op::Delete { key: arguments.key()?, condition: of_string(Condition::Always), previous: true };
    Ok(Plan::one(op, Shape::Value))
}

/// `GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]`
pub(super) fn getex(mut arguments: Arguments) -> Planned {
    let key = arguments.key()?;
    let mut expiry = Expiry::default();
    while let Some(option) = arguments.option() {
        if option == "KEEPTTL" || !expiry.take(&option, &mut arguments)? {
            return Err(syntax());
        }
    }
    Ok(match expiry.ttl("getex") {
        Ok(None) => Plan::one(Op::Get { key }, Shape::Value),
        Ok(ttl) => Plan::one(Op::GetEx { key, ttl }, Shape::Value),
        // Redis looks for the key first.
        Err(refused) => Plan::one(Op::Look { key }, Shape::Refused(refused)),
    })
}

pub(super) fn mget(mut arguments: Arguments) -> Planned {
    let ops = arguments.keys()?.into_iter().map(|key| Op::Get { key }).collect();
    Ok(Plan { ops, shape: Shape::Values })
}

/// `MSET key value [key value ...]`
pub(super) fn mset(mut arguments: Arguments) -> Planned {
    if arguments.len() % 2 == 1 {
        return Err(super::errors::wrong_arity("mset"));
    }
    let mut ops = Vec::with_capacity(arguments.len() / 2);
    while !arguments.is_empty() {
        let key = arguments.key()?;
        ops.push(put(key, arguments.next()?, Ttl::Default, Condition::Always));
    }
    Ok(Plan { ops, shape: Shape::All })
}

pub(super) fn incr(arguments: Arguments) -> Planned {
    add(arguments, Some(1))
}

pub(super) fn decr(arguments: Arguments) -> Planned {
    add(arguments, Some(-1))
}

pub(super) fn incrby(arguments: Arguments) -> Planned {
    add(arguments, None)
}

pub(super) fn decrby(mut arguments: Arguments) -> Planned {
    let key = arguments.key()?;
    let by = arguments.integer()?;
    let by = by.checked_neg().ok_or_else(|| Reply::error("ERR decrement would overflow"))?;
    Ok(counter(key, by))
}

fn add(mut arguments: Arguments, by: Option<i64>) -> Planned {
    let key = arguments.key()?;
    let by = match by {
        Some(by) => by,
        None => arguments.integer()?,
    };
    Ok(counter(key, by))
}

fn counter(key: Key, by: i64) -> Plan {
    let op = Op::Incr { key, by, initial: 0, ttl: Ttl::Default, condition: Condition::Always };
    Plan::one(op, Shape::Integer)
}

pub(super) fn incrbyfloat(mut arguments: Arguments) -> Planned {
    let key = arguments.key()?;
    let by = std::str::from_utf8(arguments.next()?).map_err(|_| Reply::error(NOT_A_FLOAT))?;
    if ["inf", "infinity"].contains(&by.trim_start_matches(['+', '-']).to_ascii_lowercase().as_str()) {
        return Err(Reply::error(NOT_FINITE));
    }
    Ok(Plan::one(Op::IncrDecimal { key, by: by.to_owned() }, Shape::Decimal))
}

/// `DIGEST key`: 16 hexadecimal digits.
pub(super) fn digest(mut arguments: Arguments) -> Planned {
    Ok(Plan::one(Op::Get { key: arguments.key()? }, Shape::Digest))
}

/// What [`digest`] has told.
fn digest_of(text: &Bytes) -> Result<u64, Reply> {
    const DIGITS: usize = 16;
    let digits = std::str::from_utf8(text).ok().filter(|text| text.len() == DIGITS);
    let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let digest = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    digest.ok_or_else(|| Reply::error("ERR must be exactly 16 hexadecimal characters"))
}

pub(super) fn append(mut arguments: Arguments) -> Planned {
    let key = arguments.key()?;
    Ok(Plan::one(Op::Append { key, bytes: arguments.next()?.clone() }, Shape::Length))
}

pub(super) fn strlen(mut arguments: Arguments) -> Planned {
    Ok(Plan::one(Op::Look { key: arguments.key()? }, Shape::Length))
}

/// `SETRANGE key offset value`
pub(super) fn setrange(mut arguments: Arguments) -> Planned {
    let key = arguments.key()?;
    let offset = arguments.integer()?;
    let offset = u64::try_from(offset).map_err(|_| Reply::error("ERR offset is out of range"))?;
    Ok(Plan::one(Op::SetRange { key, offset, bytes: arguments.next()?.clone() }, Shape::Length))
}

/// `GETRANGE key start end`
pub(super) fn getrange(mut arguments: Arguments) -> Planned {
    let key = arguments.key()?;
    let (start, end) = (arguments.integer()?, arguments.integer()?);
    Ok(Plan::one(Op::Get { key }, Shape::Part { start, end }))
}

/// `SET`'s condition on what is there, for a delete.
pub(super) fn delifeq(mut arguments: Arguments) -> Planned {
    let key = arguments.key()?;
    let condition = Condition::ValueIs(arguments.next()?.clone());
    Ok(Plan::one(Op::Delete { key, condition, previous: false }, Shape::Removed))
}

/// `DELEX key [IFEQ value | IFNE value | IFDEQ digest | IFDNE digest]`
pub(super) fn delex(mut arguments: Arguments) -> Planned {
    let key = arguments.key()?;
    let condition = match arguments.option().as_deref() {
        None => Condition::Always,
        Some("IFEQ") => Condition::ValueIs(arguments.next()?.clone()),
        Some("IFNE") => Condition::ValueIsNot(arguments.next()?.clone()),
        Some("IFDEQ") => Condition::DigestIs(digest_of(arguments.next()?)?),
        Some("IFDNE") => Condition::DigestIsNot(digest_of(arguments.next()?)?),
        Some(_) => return Err(syntax()),
    };
    if !arguments.is_empty() {
        return Err(syntax());
    }
    Ok(Plan::one(Op::Delete { key, condition, previous: false }, Shape::Removed))
}
