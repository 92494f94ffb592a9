//! Commands that give a value another key.

use super::arguments::Arguments;
use super::client::Client;
use super::errors::{Replied, failed, syntax};
use super::key::DATABASES;
use super::plan::{Plan, Shape};
use super::reply::Reply;
use super::run::run_if;
use crate::cache::{Condition, Guard, Key, Op, Ttl};
use crate::node::Session;
use bytes::Bytes;

/// How often a command is tried that read something which somebody changed meanwhile.
const TRIES: usize = 16;

/// `RENAME key other` and `RENAMENX`: what was read is written if nobody has changed it meanwhile.
pub(super) async fn rename(
    client: &Client,
    session: &Session,
    arguments: &[Bytes],
    replace: bool,
) -> Replied {
    let keys = Arguments::new(arguments, client.database).keys()?;
    let [from, to] = &keys[..] else { return Err(syntax()) };
    let moved = transfer(session, from, to, replace, true).await?;
    match (moved, replace) {
        (None, _) => Err(Reply::error("ERR no such key")),
        (Some(_), true) => Ok(Reply::OK),
        (Some(done), false) => Ok(Reply::from(done)),
    }
}

/// `COPY key other [DB n] [REPLACE]`
pub(super) async fn copy(client: &Client, session: &Session, arguments: &[Bytes]) -> Replied {
    let mut rest = Arguments::new(arguments, client.database);
    let from = rest.key()?;
    let to = rest.next()?.clone();
    let (mut database, mut replace) = (client.database, false);
    while let Some(option) = rest.option() {
        match option.as_str() {
            "REPLACE" => replace = true,
            "DB" => {
                let number = rest.integer()?;
                let number = u8::try_from(number).ok().filter(|number| *number < DATABASES);
                database = number.ok_or_else(|| Reply::error("ERR DB index is out of range"))?;
            }
            _ => return Err(syntax()),
        }
    }
    let to = Arguments::new(&[], database).name(&to)?;
    if from == to {
        return Err(Reply::error("ERR source and destination objects are the same"));
    }
    Ok(Reply::from(transfer(session, &from, &to, replace, false).await? == Some(true)))
}

/// Writes a key's value and lifetime under another. `None`: there is no such key; false: the other is there already.
async fn transfer(
    session: &Session,
    from: &Key,
    to: &Key,
    replace: bool,
    removes: bool,
) -> Result<Option<bool>, Reply> {
    for _ in 0..TRIES {
        let read =
            session.get_many_as(&[from.clone(), to.clone()], |_| false, u64::MAX).await.map_err(failed)?;
        let mut found = read.value.into_iter();
        let (Some(Ok(source)), target) = (found.next(), found.next()) else { return Ok(None) };
        if from == to {
            return Ok(Some(replace));
        }
        if !replace && target.is_some_and(|target| target.is_ok()) {
            return Ok(Some(false));
        }
        let mut guards =
            vec![Guard { key: from.clone(), condition: Condition::Revision(source.info.revision) }];
        if !replace {
            guards.push(Guard { key: to.clone(), condition: Condition::Absent });
        }
        let ttl = match (source.info.sliding_ms, source.info.expires_at_ms) {
            (0, Some(deadline_ms)) => Ttl::At(deadline_ms),
            (0, None) => Ttl::Never,
            (sliding_ms, _) => Ttl::Sliding(u64::from(sliding_ms)),
        };
        let put = Op::Put {
            key: to.clone(),
            value: source.value,
            ttl,
            condition: Condition::Always,
            previous: false,
        };
        let mut ops = vec![put];
        if removes {
            ops.push(Op::Delete { key: from.clone(), condition: Condition::Always, previous: false });
        }
        let plan = Plan { ops, shape: Shape::All };
        match run_if(session, guards, &[plan]).await.map_err(failed)? {
            None => continue,
            Some((replies, _)) => {
                return match replies.into_iter().next() {
                    Some(Reply::Error(error)) => Err(Reply::Error(error)),
                    _ => Ok(Some(true)),
                };
            }
        }
    }
    Err(Reply::error("UNAVAILABLE nothing was done: the key changed again and again"))
}
