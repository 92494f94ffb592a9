//! Commands about keys and their lifetimes, whatever their values are.

use super::arguments::Arguments;
use super::errors::{not_an_integer, syntax, unknown_subcommand};
use super::help::help;
use super::lifetimes::{Unit, of_key};
use super::number::parse_i64;
use super::plan::{Plan, Shape};
use super::reply::Reply;
use crate::cache::{Condition, DeadlineCondition, Op, Ttl};

type Planned = Result<Plan, Reply>;

pub(super) fn del(mut arguments: Arguments) -> Planned {
    let delete = |key| Op::Delete { key, condition: Condition::Always, previous: false };
    let ops = arguments.keys()?.into_iter().map(delete).collect();
    Ok(Plan { ops, shape: Shape::Removed })
}

pub(super) fn exists(mut arguments: Arguments) -> Planned {
    let ops = arguments.keys()?.into_iter().map(|key| Op::Look { key }).collect();
    Ok(Plan { ops, shape: Shape::Present })
}

/// A read that tells no value counts as a use all the same.
pub(super) fn touch(mut arguments: Arguments) -> Planned {
    let ops = arguments.keys()?.into_iter().map(|key| Op::Get { key }).collect();
    Ok(Plan { ops, shape: Shape::Present })
}

pub(super) fn kind(mut arguments: Arguments) -> Planned {
    Ok(Plan::one(Op::Look { key: arguments.key()? }, Shape::Type))
}

pub(super) fn persist(mut arguments: Arguments) -> Planned {
    let key = arguments.key()?;
    let ttl = Ttl::Never;
    // Only what has an end can lose it.
    let only = DeadlineCondition::Some;
    Ok(Plan::one(Op::Expire { key, ttl, condition: Condition::Always, only }, Shape::WasSet))
}

pub(super) fn ttl(arguments: Arguments) -> Planned {
    lifetime(arguments, false, false)
}

pub(super) fn pttl(arguments: Arguments) -> Planned {
    lifetime(arguments, true, false)
}

pub(super) fn expiretime(arguments: Arguments) -> Planned {
    lifetime(arguments, false, true)
}

pub(super) fn pexpiretime(arguments: Arguments) -> Planned {
    lifetime(arguments, true, true)
}

fn lifetime(mut arguments: Arguments, in_ms: bool, is_absolute: bool) -> Planned {
    Ok(Plan::one(Op::Look { key: arguments.key()? }, Shape::Lifetime { in_ms, is_absolute }))
}

pub(super) fn expire(arguments: Arguments) -> Planned {
    set_lifetime(arguments, Unit::Seconds, "expire")
}

pub(super) fn pexpire(arguments: Arguments) -> Planned {
    set_lifetime(arguments, Unit::Milliseconds, "pexpire")
}

pub(super) fn expireat(arguments: Arguments) -> Planned {
    set_lifetime(arguments, Unit::UnixSeconds, "expireat")
}

pub(super) fn pexpireat(arguments: Arguments) -> Planned {
    set_lifetime(arguments, Unit::UnixMilliseconds, "pexpireat")
}

/// `EXPIRE key number [NX | XX | GT | LT]`
fn set_lifetime(mut arguments: Arguments, unit: Unit, command: &str) -> Planned {
    let key = arguments.key()?;
    let number = arguments.next()?;
    let (mut nx, mut xx, mut gt, mut lt) = (false, false, false, false);
    while !arguments.is_empty() {
        let option = arguments.next()?;
        match option.to_ascii_uppercase().as_slice() {
            b"NX" => nx = true,
            b"XX" => xx = true,
            b"GT" => gt = true,
            b"LT" => lt = true,
            _ => {
                let option = String::from_utf8_lossy(option);
                return Err(Reply::error(format!("ERR Unsupported option {option}")));
            }
        }
    }
    if nx && (xx || gt || lt) {
        return Err(Reply::error("ERR NX and XX, GT or LT options at the same time are not compatible"));
    }
    if gt && lt {
        return Err(Reply::error("ERR GT and LT options at the same time are not compatible"));
    }
    let ttl = of_key(parse_i64(number).ok_or_else(not_an_integer)?, unit, command)?;
    // With `XX`, no lifetime is none that could be made shorter.
    let only = match (nx, xx, gt, lt) {
        (true, ..) => DeadlineCondition::None,
        (_, true, _, true) => DeadlineCondition::EarlierThanSome,
        (_, _, true, _) => DeadlineCondition::Later,
        (_, _, _, true) => DeadlineCondition::Earlier,
        (_, true, ..) => DeadlineCondition::Some,
        _ => DeadlineCondition::Always,
    };
    Ok(Plan::one(Op::Expire { key, ttl, condition: Condition::Always, only }, Shape::WasSet))
}

/// A subcommand as it was given.
fn given(arguments: &Arguments<'_>) -> String {
    arguments.rest().first().map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default()
}

/// `OBJECT ENCODING key`, `OBJECT REFCOUNT key`, and what is known of uses. (`OBJECT FREQ` by itself never comes here.)
pub(super) fn object(mut arguments: Arguments) -> Planned {
    if let Some(help) = help("object", arguments.rest()) {
        return Ok(Plan::known(help));
    }
    let refused = |key, text: &str| Ok(Plan::one(Op::Look { key }, Shape::Refused(Reply::error(text))));
    let given = given(&arguments);
    let subcommand = arguments.option();
    match (subcommand.as_deref(), arguments.len()) {
        (Some("ENCODING"), 1) => Ok(Plan::one(Op::Get { key: arguments.key()? }, Shape::Encoding)),
        (Some("REFCOUNT"), 1) => Ok(Plan::one(Op::Look { key: arguments.key()? }, Shape::References)),
        (Some("FREQ"), 1) => {
            refused(arguments.key()?, "ERR OBJECT FREQ is not answered in transactions and scripts")
        }
        (Some("IDLETIME"), 1) => refused(
            arguments.key()?,
            "ERR idle time is not tracked: uses are kept in their order, without times",
        ),
        (Some(_), _) => Err(unknown_subcommand("OBJECT", &given)),
        (None, _) => Err(syntax()),
    }
}

/// `MEMORY USAGE key [SAMPLES count]`
pub(super) fn memory(mut arguments: Arguments) -> Planned {
    if let Some(help) = help("memory", arguments.rest()) {
        return Ok(Plan::known(help));
    }
    let given = given(&arguments);
    let subcommand = arguments.option();
    match (subcommand.as_deref(), arguments.len()) {
        (Some("USAGE"), 1 | 3) => Ok(Plan::one(Op::Look { key: arguments.key()? }, Shape::Memory)),
        (Some(_), _) => Err(unknown_subcommand("MEMORY", &given)),
        (None, _) => Err(syntax()),
    }
}
