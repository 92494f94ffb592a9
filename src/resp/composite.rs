//! Commands that decide by several keys what they write. They are tried out on copies: [`super::scratch`].

use super::arguments::Arguments;
use super::errors::{NO_KEY, syntax, wrong_arity};
use super::key::DATABASES;
use super::lifetimes::Expiry;
use super::plan::{Plan, Shape};
use super::reply::Reply;
use super::scratch::{Missing, Scratch, lifetime_of};
use super::strings::{mset, put};
use crate::cache::{Condition, Key, Op, Ttl};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Composite {
    /// A value gets another key.
    Rename { from: Key, to: Key, replace: bool },
    /// A value gets a second key, or, if it `moves`, another.
    Copy { from: Key, to: Key, replace: bool, moves: bool },
    /// All are stored, if this holds for each key.
    PutAll { plan: Plan, condition: Condition },
}

impl Composite {
    /// The keys that it looks at.
    pub fn keys(&self) -> Vec<Key> {
        match self {
            Self::Rename { from, to, .. } | Self::Copy { from, to, .. } => vec![from.clone(), to.clone()],
            Self::PutAll { plan, .. } => plan.ops.iter().map(|op| op.key().clone()).collect(),
        }
    }

    /// Carries it out on copies of its keys.
    pub fn carry_out(&self, scratch: &mut Scratch) -> Result<Reply, Missing> {
        match self {
            Self::Rename { from, to, replace } => {
                match (transfer(scratch, from, to, *replace, true)?, replace) {
                    (Transferred::NoKey, _) => Ok(Reply::error(NO_KEY)),
                    (Transferred::Failed(failed), _) => Ok(failed),
                    (_, true) => Ok(Reply::OK),
                    (transferred, false) => Ok(Reply::from(matches!(transferred, Transferred::Done))),
                }
            }
            Self::Copy { from, to, replace, moves } => match transfer(scratch, from, to, *replace, *moves)? {
                Transferred::Failed(failed) => Ok(failed),
                transferred => Ok(Reply::from(matches!(transferred, Transferred::Done))),
            },
            Self::PutAll { plan, condition } => {
                for op in &plan.ops {
                    let is_there = scratch.get(op.key())?.is_some();
                    if is_there != (*condition == Condition::Present) && *condition != Condition::Always {
                        return Ok(Reply::Integer(0));
                    }
                }
                Ok(match scratch.carry_out(plan)? {
                    Reply::Error(error) => Reply::Error(error),
                    _ => Reply::Integer(1),
                })
            }
        }
    }
}

enum Transferred {
    Done,
    NoKey,
    /// The other key is there already, or is the same.
    Refused,
    Failed(Reply),
}

/// Writes a key's value and lifetime under another.
fn transfer(
    scratch: &mut Scratch,
    from: &Key,
    to: &Key,
    replace: bool,
    removes: bool,
) -> Result<Transferred, Missing> {
    let (source, target) = (scratch.get(from)?, scratch.get(to)?);
    let Some(source) = source else { return Ok(Transferred::NoKey) };
    if from == to {
        return Ok(if replace { Transferred::Done } else { Transferred::Refused });
    }
    if !replace && target.is_some() {
        return Ok(Transferred::Refused);
    }
    let ttl = lifetime_of(&source);
    let (key, value, condition) = (to.clone(), source.value, Condition::Always);
    let mut ops = vec![Op::Put { key, value, ttl, condition, previous: false }];
    if removes {
        ops.push(Op::Delete { key: from.clone(), condition: Condition::Always, previous: false });
    }
    Ok(match scratch.carry_out(&Plan { ops, shape: Shape::All })? {
        failed @ Reply::Error(_) => Transferred::Failed(failed),
        _ => Transferred::Done,
    })
}

type Composed = Result<Composite, Reply>;

pub(super) fn rename(mut arguments: Arguments) -> Composed {
    Ok(Composite::Rename { from: arguments.key()?, to: arguments.key()?, replace: true })
}

pub(super) fn renamenx(mut arguments: Arguments) -> Composed {
    Ok(Composite::Rename { from: arguments.key()?, to: arguments.key()?, replace: false })
}

/// `COPY key other [DB number] [REPLACE]`
pub(super) fn copy(mut arguments: Arguments) -> Composed {
    let from = arguments.key()?;
    let to = arguments.next()?;
    let (mut database, mut replace) = (arguments.database, false);
    while let Some(option) = arguments.option() {
        match option.as_str() {
            "REPLACE" => replace = true,
            "DB" => database = database_of(&mut arguments)?,
            _ => return Err(syntax()),
        }
    }
    let to = Arguments::new(&[], database).name(to)?;
    if from == to {
        return Err(Reply::error("ERR source and destination objects are the same"));
    }
    Ok(Composite::Copy { from, to, replace, moves: false })
}

/// `MOVE key database`
pub(super) fn move_key(mut arguments: Arguments) -> Composed {
    let key = arguments.next()?;
    let from = arguments.name(key)?;
    let to = Arguments::new(&[], database_of(&mut arguments)?).name(key)?;
    if from == to {
        return Err(Reply::error("ERR source and destination objects are the same"));
    }
    Ok(Composite::Copy { from, to, replace: false, moves: true })
}

fn database_of(arguments: &mut Arguments) -> Result<u8, Reply> {
    let number = u8::try_from(arguments.integer()?).ok().filter(|number| *number < DATABASES);
    number.ok_or_else(|| Reply::error("ERR DB index is out of range"))
}

/// `MSETNX key value [key value ...]`
pub(super) fn msetnx(arguments: Arguments) -> Composed {
    if arguments.len() % 2 == 1 {
        return Err(wrong_arity("msetnx"));
    }
    Ok(Composite::PutAll { plan: mset(arguments)?, condition: Condition::Absent })
}

/// `MSETEX count key value [key value ...] [NX | XX] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]`
pub(super) fn msetex(mut arguments: Arguments) -> Composed {
    let count = usize::try_from(arguments.integer()?).ok().filter(|count| *count > 0);
    let count = count.ok_or_else(|| Reply::error("ERR invalid numkeys value"))?;
    if count.checked_mul(2).is_none_or(|words| words > arguments.len()) {
        return Err(wrong_arity("msetex"));
    }
    let pairs = (0..count).map(|_| Ok((arguments.key()?, arguments.next()?)));
    let pairs = pairs.collect::<Result<Vec<_>, Reply>>()?;
    let (mut condition, mut expiry) = (Condition::Always, Expiry::default());
    while let Some(option) = arguments.option() {
        let wanted = match option.as_str() {
            "NX" => Condition::Absent,
            "XX" => Condition::Present,
            option => match option != "PERSIST" && expiry.take(option, &mut arguments)? {
                true => continue,
                false => return Err(syntax()),
            },
        };
        if condition != Condition::Always && condition != wanted {
            return Err(syntax());
        }
        condition = wanted;
    }
    let ttl = expiry.ttl("msetex")?.unwrap_or(Ttl::Default);
    let ops = pairs.into_iter().map(|(key, bytes)| put(key, bytes, ttl, Condition::Always)).collect();
    Ok(Composite::PutAll { plan: Plan { ops, shape: Shape::All }, condition })
}
