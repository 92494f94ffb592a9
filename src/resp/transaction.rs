//! Transactions: a queue of commands in one log entry, if nothing that was watched has changed.

use super::arguments::Arguments;
use super::client::Client;
use super::commands::Alone;
use super::errors::{Replied, failed, too_large};
use super::glob::Pattern;
use super::info;
use super::optimistic::{self, Done, Work};
use super::plan::{Plan, Shape};
use super::queue::{Queued, Transaction};
use super::reply::Reply;
use super::run::{Run, run_if};
use super::scripts;
use super::walk::{self, ScanFor};
use super::whole::{Asks, Moment, WHOLE_MAX, Whole};
use crate::cache::limits::{SEQUENCE_GUARDS_MAX, SEQUENCE_OPS_MAX};
use crate::cache::{Condition, Guard, Key, Op};
use crate::node::Session;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;

/// `EXEC`: all of the queue in one log entry.
pub(super) async fn exec(client: &mut Client, session: &Session) -> Replied {
    let Some(transaction) = client.transaction.take() else {
        return Err(Reply::error("ERR EXEC without MULTI"));
    };
    let guards = std::mem::take(&mut client.watched);
    if transaction.is_broken {
        return Err(Reply::error("EXECABORT Transaction discarded because of previous errors."));
    }
    let mut queue = transaction.queue();
    for queued in &mut queue {
        if let Queued::Info(sections) = queued {
            *queued = Queued::Plan(Plan::known(info::reply(client, sections).await));
        }
    }
    if queue.iter().any(|queued| matches!(queued, Queued::Flush(_))) {
        return flush(client, session, &guards, &queue).await;
    }
    let plans = match queue.iter().all(|queued| matches!(queued, Queued::Plan(_))) {
        true => queue.into_iter().filter_map(Queued::into_plan).collect::<Vec<Plan>>(),
        false => return exec_on_copies(client, session, &guards, queue).await,
    };
    let count = plans.len();
    if guards.is_empty() && !plans.iter().any(Plan::writes) {
        let shared = client.shared.clone();
        let mut run = Run::new(session.clone(), &shared.front.answer_memory, &plans, client.touches);
        let first = run.next().await;
        let index = first.as_ref().map_or(0, |part| part.index);
        client.note_seen(index);
        client.note_read(plans.iter().flat_map(|plan| &plan.ops).map(Op::key), index);
        let first = first.map(|part| part.replies).unwrap_or_default();
        return match first.len() == plans.len() {
            true => Ok(Reply::Array(first)),
            false => Err(Reply::error("ERR the answer is too large: ask for fewer keys at a time")),
        };
    }
    if plans.iter().map(|plan| plan.ops.len()).sum::<usize>() > SEQUENCE_OPS_MAX {
        return Err(too_large());
    }
    // A log entry does something, and be it that it looks at what was watched.
    let look = |key: &Key| Plan::one(Op::Look { key: key.clone() }, Shape::Present);
    let plans: Vec<Plan> = plans.into_iter().chain(guards.iter().find_map(Guard::key).map(look)).collect();
    match run_if(session, guards, &plans).await {
        Ok(Some((mut replies, index))) => {
            replies.truncate(count);
            client.note_written(index);
            let reading = plans[..count].iter().filter(|plan| !plan.writes());
            // Within the entry, a read can come before a write.
            client.note_read(reading.flat_map(|plan| &plan.ops).map(Op::key), index.saturating_sub(1));
            Ok(Reply::Array(replies))
        }
        Ok(None) => Ok(Reply::NullArray),
        Err(error) => Err(failed(error)),
    }
}

/// The same where a command is more than operations of a log entry.
async fn exec_on_copies(
    client: &mut Client,
    session: &Session,
    guards: &[Guard],
    queue: Vec<Queued>,
) -> Replied {
    // Of all keys, what there was a little before is read here. What changes until the entry is added to it.
    let mut whole = Vec::new();
    for (at, queued) in queue.iter().enumerate() {
        if let Queued::Whole(asked) = queued {
            whole.push((at, asked.clone(), asked.read(session).await?));
        }
    }
    let keys = queue.iter().flat_map(Queued::keys).collect();
    let done = optimistic::carry_out(client, session, keys, guards, Work::Queue(Arc::new(queue))).await?;
    let Some(Done { reply, moment, notes, .. }) = done else { return Ok(Reply::NullArray) };
    let Reply::Array(mut replies) = reply else { return Ok(reply) };
    // What was read last is the newest, and nothing was written by then.
    let newest = whole.iter().map(|(.., known)| known.index).max().unwrap_or(0);
    let moment = if let Moment::After(index) = moment { Moment::After(index.max(newest)) } else { moment };
    client.note_seen(moment.index());
    for ((at, asked, known), own) in whole.into_iter().zip(notes) {
        replies[at] = asked.reply(known, moment, &own, session).await;
    }
    Ok(Reply::Array(replies))
}

/// A transaction that removes all keys. One log entry can do that, and nothing else.
async fn flush(client: &mut Client, session: &Session, guards: &[Guard], queue: &[Queued]) -> Replied {
    let is_alone = |queued: &Queued| match queued {
        Queued::Plan(plan) => plan.ops.is_empty(),
        Queued::Flush(_) => true,
        _ => false,
    };
    let scopes = queue.iter().filter_map(|queued| match queued {
        Queued::Flush(database) => Some(*database),
        _ => None,
    });
    let scopes: BTreeSet<Option<u8>> = scopes.collect();
    let database = scopes.first().copied().flatten();
    if !guards.is_empty() || !queue.iter().all(is_alone) || database.is_some() && scopes.len() > 1 {
        return Err(Reply::error(
            "EXECABORT nothing was done: FLUSHDB and FLUSHALL cannot be carried out as one with other commands about data, or after WATCH",
        ));
    }
    walk::flush_at_once(client, session, database).await?;
    let reply = |queued: &Queued| match queued {
        Queued::Plan(plan) => plan.shape.reply(&[], 0),
        _ => Reply::OK,
    };
    Ok(Reply::Array(queue.iter().map(reply).collect()))
}

/// As a command waits in a transaction that is otherwise carried out alone. `None`: it cannot be in one.
pub(super) fn queued(client: &Client, kind: Alone, words: &[Bytes]) -> Option<Result<Queued, Reply>> {
    let database = client.database;
    let whole = |asks| {
        let count = client.transaction.as_ref().map_or(0, Transaction::whole);
        match count < WHOLE_MAX {
            true => Ok(Queued::Whole(Whole { database, asks })),
            false => {
                Err(Reply::error(format!("ERR a transaction can have {WHOLE_MAX} commands about all keys")))
            }
        }
    };
    // What is wrong with the arguments is told in its place.
    let told = |refused| Ok(Queued::Plan(Plan::known(refused)));
    Some(match kind {
        Alone::Eval => match scripts::script_of(client, words) {
            Ok(script) => Ok(Queued::Script(Arc::new(script))),
            Err(refused) => told(refused),
        },
        Alone::Keys => match Pattern::parse(&words[1]) {
            Ok(pattern) => whole(Asks::Keys(pattern)),
            Err(refused) => told(refused),
        },
        Alone::Scan => match ScanFor::parse(&words[1..]) {
            Ok(wanted) => whole(Asks::Scan(wanted)),
            Err(refused) => told(refused),
        },
        Alone::DbSize => whole(Asks::Count),
        Alone::RandomKey => whole(Asks::Any),
        Alone::Info => Ok(Queued::Info(words[1..].to_vec())),
        Alone::FlushDb | Alone::FlushAll => match walk::check_flush(&words[1..]) {
            Ok(()) => Ok(Queued::Flush(Some(database).filter(|_| kind == Alone::FlushDb))),
            Err(refused) => told(refused),
        },
        _ => return None,
    })
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
    client.note_seen(read.index);
    let mut known: BTreeSet<Key> = client.watched.iter().filter_map(Guard::key).cloned().collect();
    for (key, found) in keys.into_iter().zip(read.value) {
        let condition = found
            .map_or(Condition::AbsentSince(read.index), |found| Condition::Revision(found.info.revision));
        // What was noted first counts.
        if known.insert(key.clone()) {
            client.watched.push(Guard::Key { key, condition });
        }
    }
    Ok(Reply::OK)
}
