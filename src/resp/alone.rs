//! Commands that are carried out alone: they need the cluster and more than a plan can say.

use super::client::Client;
use super::commands::Alone;
use super::composite::Composite;
use super::dispatch::Work;
use super::errors::{LOADING, Replied};
use super::optimistic::{self, carry_out_all};
use super::reply::Reply;
use super::{
    answers, extras, info, login, push_commands, scripts, sentinel, tracking_commands, transaction, walk,
};
use crate::front::AnswerPermit;
use crate::node::Session;
use bytes::Bytes;

/// Carries it out. The reply has its part of the memory of all answers.
pub(super) async fn reply(work: Work, client: &mut Client) -> (Reply, Option<AnswerPermit>) {
    let kind = match &work {
        Work::Command(kind, _) => Some(*kind),
        Work::Composite(_) => None,
    };
    let (database, writes) = (database_before(kind, client), client.writes);
    let reserved = match answers::reserve(client, &work) {
        Ok(reserved) => reserved,
        Err(refused) => return (refused, None),
    };
    let reply = match work {
        Work::Command(kind, words) => command(kind, client, &words).await,
        Work::Composite(composite) => on_copies(client, &composite).await.unwrap_or_else(|failed| failed),
    };
    drop(reserved);
    let (reply, permit) = answers::admit(client, kind, reply, client.writes != writes);
    if let Some(database) = database.filter(|_| !matches!(reply, Reply::Array(_)))
        && database != client.database
    {
        client.database = database;
        client.show();
    }
    (reply, permit)
}

/// For `EXEC`, the database from before the transaction. What was queued has changed the connection's database for what was queued after it;
/// it stays so only if the transaction was carried out.
fn database_before(kind: Option<Alone>, client: &Client) -> Option<u8> {
    let transaction = client.transaction.as_ref().filter(|_| kind == Some(Alone::Exec));
    transaction.map(|transaction| transaction.database)
}

/// Carries out what decides by several keys what it writes.
async fn on_copies(client: &mut Client, composite: &Composite) -> Replied {
    let Some(session) = client.session() else {
        client.ends = true;
        return Err(Reply::error(LOADING));
    };
    carry_out_all(client, &session, composite.keys(), optimistic::Work::Composite(composite)).await
}

async fn command(kind: Alone, client: &mut Client, words: &[Bytes]) -> Reply {
    let arguments = &words[1..];
    match kind {
        Alone::Hello => return login::hello(client, arguments).await,
        Alone::Auth => return login::auth_command(client, arguments).await,
        Alone::Reset => {
            client.reset();
            return Reply::Status("RESET");
        }
        Alone::Sentinel => return sentinel::reply(client, words).await,
        Alone::Info if client.is_sentinel() => return sentinel::info(client).await,
        Alone::Info => return info::reply(client, arguments).await,
        _ => {}
    }
    let Some(session) = client.session() else {
        client.ends = true;
        return Reply::error(LOADING);
    };
    let done = match kind {
        Alone::Hello | Alone::Auth | Alone::Reset | Alone::Info | Alone::Sentinel => Ok(Reply::OK),
        Alone::Lockstep => extras::reply(client, &session, words).await,
        Alone::Exec => transaction::exec(client, &session).await,
        Alone::Subscribe => push_commands::subscribe(client, words).await,
        Alone::Tracking => tracking_commands::tracking(client, &words[2..]).await,
        Alone::Frequency => extras::frequency(client, &session, arguments).await,
        Alone::Eval => scripts::eval(client, &session, words).await,
        Alone::Watch => transaction::watch(client, &session, arguments).await,
        Alone::Scan => walk::scan(client, &session, arguments).await,
        Alone::Keys => walk::keys(client, &session, &arguments[0]).await,
        Alone::RandomKey => walk::random_key(client, &session).await,
        Alone::DbSize => walk::db_size(client, &session).await,
        Alone::FlushDb => flush(client, &session, Some(client.database), arguments).await,
        Alone::FlushAll => flush(client, &session, None, arguments).await,
    };
    done.unwrap_or_else(|failed| failed)
}

/// `FLUSHDB` and `FLUSHALL`.
async fn flush(client: &mut Client, session: &Session, database: Option<u8>, arguments: &[Bytes]) -> Replied {
    let done = walk::flush(client, session, database, arguments).await;
    if let Some(tracking) = &mut client.tracking {
        tracking.note_emptied();
    }
    done
}
