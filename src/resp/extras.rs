//! What no Redis has: commands that are carried out once, reads of another consistency, and positions in the log; and what only this node's
//! own copy can tell of a key.

use super::arguments::Arguments;
use super::client::Client;
use super::commands::{Kind, find};
use super::errors::{Replied, failed, syntax, too_large, unknown_command, wrong_arity};
use super::number::parse_i64;
use super::plan::{Plan, results};
use super::reply::Reply;
use crate::api::Consistency;
use crate::cache::limits::SEQUENCE_OPS_MAX;
use crate::cache::{Command, IdempotencyKey, Policy};
use crate::node::{Session, WriteRequest};
use bytes::Bytes;

/// Carries it out.
pub(super) async fn reply(client: &mut Client, session: &Session, words: &[Bytes]) -> Replied {
    let arguments = &words[1..];
    match words[0].to_ascii_lowercase().as_slice() {
        b"lockstep.consistency" => consistency(client, session, arguments),
        b"lockstep.once" => once(client, session, arguments).await,
        b"lockstep.revision" => revision(client, session, &arguments[0]).await,
        b"lockstep.wait" => wait(client, session, &arguments[0]).await,
        _ => Ok(index(client.seen_index)),
    }
}

fn index(index: u64) -> Reply {
    Reply::Integer(i64::try_from(index).unwrap_or(i64::MAX))
}

/// `LOCKSTEP.CONSISTENCY [linearizable | lease | stale]`: what this connection's reads ask for from now on.
fn consistency(client: &mut Client, session: &Session, arguments: &[Bytes]) -> Replied {
    let [name] = arguments else {
        return match arguments {
            [] => Ok(Reply::bulk(session.consistency().as_str())),
            _ => Err(wrong_arity("lockstep.consistency")),
        };
    };
    client.consistency = Some(match name.to_ascii_lowercase().as_slice() {
        b"linearizable" => Consistency::Linearizable,
        b"lease" => Consistency::Lease,
        b"stale" => Consistency::Stale,
        _ => return Err(Reply::error("ERR expected linearizable, lease or stale")),
    });
    Ok(Reply::OK)
}

/// `LOCKSTEP.ONCE id command ...`: a write that is carried out once, however often it is sent with this id. Whoever got no reply, or
/// `OUTCOMEUNKNOWN`, sends it again and is answered as the first time.
async fn once(client: &mut Client, session: &Session, arguments: &[Bytes]) -> Replied {
    let [id, words @ ..] = arguments else { return Err(syntax()) };
    let id = std::str::from_utf8(id).ok().filter(|id| !id.chars().any(char::is_control));
    let id = id.ok_or_else(|| Reply::error("ERR the id is text without control characters"))?;
    let command = find(&words[0]).ok_or_else(|| unknown_command(words))?;
    let Kind::Data(plan) = command.kind else {
        return Err(Reply::error("ERR only commands that write values can be carried out once"));
    };
    if !command.takes(words.len()) {
        return Err(wrong_arity(command.name));
    }
    let plan: Plan = plan(Arguments::new(&words[1..], client.database))?;
    let plan = plan.counted(&client.shared.channels);
    if !plan.writes() {
        return Err(Reply::error("ERR only commands that write values can be carried out once"));
    }
    if plan.ops.len() > SEQUENCE_OPS_MAX {
        return Err(too_large());
    }
    let command = Command::Sequence { guards: Vec::new(), ops: plan.ops };
    let idempotency_key = Some(IdempotencyKey::from(id.to_owned()));
    let request = WriteRequest { idempotency_key, ..WriteRequest::from(command) };
    let written = session.write(request).await.map_err(failed)?;
    client.note_written(written.index);
    Ok(plan.shape.reply(&results(written.outcome), written.now_ms))
}

/// `LOCKSTEP.REVISION key`: a number that grows with every change of the key, so whoever holds a lock can be told from whoever held it
/// before. Nothing if there is no such key.
async fn revision(client: &mut Client, session: &Session, key: &[u8]) -> Replied {
    let key = Arguments::new(&[], client.database).name(key)?;
    let read = session.get_many_as(&[key], |_| false, u64::MAX).await.map_err(failed)?;
    client.note_seen(read.index);
    let found = read.value.into_iter().next().and_then(Result::ok);
    Ok(found.map_or(Reply::Null, |found| index(found.info.revision)))
}

/// `OBJECT FREQ key`
pub(super) async fn frequency(client: &mut Client, session: &Session, arguments: &[Bytes]) -> Replied {
    let [_, key] = arguments else { return Err(wrong_arity("object|freq")) };
    let key = Arguments::new(&[], client.database).name(key)?;
    let read = session.frequency(&key).await.map_err(failed)?;
    client.note_seen(read.index);
    match read.value {
        (None, _) => Ok(Reply::Null),
        (Some(count), Policy::Lfu) => Ok(Reply::Integer(count.into())),
        (Some(_), _) => Err(Reply::error(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
             between policies at runtime LRU and LFU data will take some time to adjust.",
        )),
    }
}

/// `LOCKSTEP.WAIT index`: waits until this node has applied it. From then on no read of this connection is older, whatever its
/// consistency.
async fn wait(client: &mut Client, session: &Session, text: &[u8]) -> Replied {
    let asked = parse_i64(text)
        .and_then(|index| u64::try_from(index).ok())
        .ok_or_else(super::errors::not_an_integer)?;
    let session = session.clone().with_consistency(Consistency::Stale).not_before(Some(asked));
    let read = session.config().await.map_err(failed)?;
    client.min_index = client.min_index.max(Some(asked));
    client.note_seen(read.index);
    Ok(index(read.index))
}
