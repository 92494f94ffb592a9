//! Transactions: a queue of commands in one log entry, if nothing that was watched has changed.

use super::arguments::Arguments;
use super::client::Client;
use super::errors::{Replied, failed, too_large, wrong_arity};
use super::plan::Plan;
use super::reply::Reply;
use super::run::{Run, run_if};
use super::strings;
use crate::cache::limits::{SEQUENCE_GUARDS_MAX, SEQUENCE_OPS_MAX};
use crate::cache::{Condition, Guard, Op};
use crate::node::Session;
use bytes::Bytes;

/// `EXEC`: all of the queue in one log entry.
pub(super) async fn exec(client: &mut Client, session: &Session) -> Replied {
    let Some(transaction) = client.transaction.take() else {
        return Err(Reply::error("ERR EXEC without MULTI"));
    };
    let guards = std::mem::take(&mut client.watched);
    if transaction.is_broken {
        return Err(Reply::error("EXECABORT Transaction discarded because of previous errors."));
    }
    let plans: Vec<Plan> = transaction.plans();
    if guards.is_empty() && !plans.iter().any(Plan::writes) {
        let shared = client.shared.clone();
        let mut run = Run::new(session.clone(), &shared.front.answer_memory, &plans, client.touches);
        let first = run.next().await.map(|part| part.replies).unwrap_or_default();
        return match first.len() == plans.len() {
            true => Ok(Reply::Array(first)),
            false => Err(Reply::error("ERR the answer is too large: ask for fewer keys at a time")),
        };
    }
    if plans.iter().map(|plan| plan.ops.len()).sum::<usize>() > SEQUENCE_OPS_MAX {
        return Err(too_large());
    }
    match run_if(session, guards, &plans).await {
        Ok(Some((replies, index))) => {
            client.seen_index = client.seen_index.max(index);
            Ok(Reply::Array(replies))
        }
        Ok(None) => Ok(Reply::NullArray),
        Err(error) => Err(failed(error)),
    }
}

/// `WATCH key [key ...]`: notes what each key has.
pub(super) async fn watch(client: &mut Client, session: &Session, arguments: &[Bytes]) -> Replied {
    if client.transaction.is_some() {
        return Err(Reply::error("ERR WATCH inside MULTI is not allowed"));
    }
    let keys = Arguments::new(arguments, client.database).keys()?;
    if client.watched.len() + keys.len() > SEQUENCE_GUARDS_MAX {
        return Err(Reply::error("ERR too many keys are watched"));
    }
    let read = session.get_many_as(&keys, |_| false, u64::MAX).await.map_err(failed)?;
    for (key, found) in keys.into_iter().zip(read.value) {
        let condition = found
            .map_or(Condition::AbsentSince(read.index), |found| Condition::Revision(found.info.revision));
        // What was noted first counts.
        if !client.watched.iter().any(|guard| guard.key == key) {
            client.watched.push(Guard { key, condition });
        }
    }
    Ok(Reply::OK)
}

/// `MSETNX`: all of them, if none of the keys is there.
pub(super) async fn mset_nx(client: &Client, session: &Session, arguments: &[Bytes]) -> Replied {
    if arguments.len() % 2 == 1 {
        return Err(wrong_arity("msetnx"));
    }
    let plan = strings::mset(Arguments::new(arguments, client.database))?;
    let absent = |op: &Op| Guard { key: op.key().clone(), condition: Condition::Absent };
    let guards: Vec<Guard> = plan.ops.iter().map(absent).collect();
    match run_if(session, guards, &[plan]).await.map_err(failed)? {
        Some((replies, _)) => Ok(match replies.into_iter().next() {
            Some(Reply::Error(error)) => Reply::Error(error),
            _ => Reply::Integer(1),
        }),
        None => Ok(Reply::Integer(0)),
    }
}
