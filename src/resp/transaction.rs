//! Transactions: a queue of commands in one log entry, if nothing that was watched has changed.

use super::arguments::Arguments;
use super::client::Client;
use super::errors::{Replied, failed, too_large};
use super::optimistic::{self, Work};
use super::plan::{Plan, Shape};
use super::queue::Queued;
use super::reply::Reply;
use super::run::{Run, run_if};
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
    let queue = transaction.queue();
    if queue.iter().any(|queued| matches!(queued, Queued::Composite(_))) {
        return exec_on_copies(client, session, &guards, queue).await;
    }
    let plans: Vec<Plan> = queue.into_iter().map(Queued::into_plan).collect();
    let count = plans.len();
    if guards.is_empty() && !plans.iter().any(Plan::writes) {
        let shared = client.shared.clone();
        let mut run = Run::new(session.clone(), &shared.front.answer_memory, &plans, client.touches);
        let first = run.next().await;
        client.seen_index = client.seen_index.max(first.as_ref().map_or(0, |part| part.index));
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
    let look = |guard: &Guard| Plan::one(Op::Look { key: guard.key.clone() }, Shape::Present);
    let plans: Vec<Plan> = plans.into_iter().chain(guards.first().map(look)).collect();
    match run_if(session, guards, &plans).await {
        Ok(Some((mut replies, index))) => {
            replies.truncate(count);
            client.note_written(index);
            Ok(Reply::Array(replies))
        }
        Ok(None) => Ok(Reply::NullArray),
        Err(error) => Err(failed(error)),
    }
}

/// The same where a command decides by several keys what it writes.
async fn exec_on_copies(
    client: &mut Client,
    session: &Session,
    guards: &[Guard],
    queue: Vec<Queued>,
) -> Replied {
    let keys = queue.iter().flat_map(Queued::keys).collect();
    Ok(optimistic::carry_out(client, session, keys, guards, Work::Queue(&queue))
        .await?
        .unwrap_or(Reply::NullArray))
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
    client.seen_index = client.seen_index.max(read.index);
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
