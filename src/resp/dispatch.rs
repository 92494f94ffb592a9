//! From the words of a command to what is to be done.

use super::answers::known_bytes;
use super::arguments::Arguments;
use super::client::{Client, Silence};
use super::commands::{Alone, Command, Connection, Kind, find};
use super::composite::Composite;
use super::connection_commands;
use super::errors::{NO_TOKEN, TOO_LARGE, is_no_command, of_node, unknown_command, wrong_arity};
use super::plan::Plan;
use super::queue::Queued;
use super::reply::{Protocol, Reply};
use super::sentinel;
use super::transaction;
use crate::cache::{Need, Op, Quota, Role, TokenLimits};
use crate::front::{ClientAddress, Consumer, RateLimit, RateMode};
use bytes::Bytes;

/// A command that is carried out with those beside it.
pub(super) struct Waiting {
    pub plan: Plan,
    /// Whether the client wants a reply.
    pub is_told: bool,
    pub command: &'static str,
    /// Whether the client is told when what it reads changes.
    pub is_tracked: bool,
}

/// What is to be done for a command.
pub(super) enum Dispatched {
    Waits(Waiting),
    /// It is carried out by itself, after what came before it.
    Alone {
        work: Work,
        is_told: bool,
        command: &'static str,
    },
}

/// What is carried out by itself.
pub(super) enum Work {
    Command(Alone, Vec<Bytes>),
    Composite(Composite),
}

/// What unknown commands are counted as.
const UNKNOWN: &str = "unknown";

/// Looks at a command, and notes what it changes about the connection.
pub(super) async fn dispatch(client: &mut Client, words: Vec<Bytes>) -> Dispatched {
    let is_told = is_told(client);
    let is_known = |command: &&Command| match client.is_sentinel() {
        true => sentinel::takes(command, &words),
        false => !matches!(command.kind, Kind::Alone(Alone::Sentinel)),
    };
    let found = find(&words[0]).filter(is_known);
    let command = match admit(client, found, &words).await {
        Ok(command) => command,
        Err(refused) => {
            let name = found.map_or(UNKNOWN, |command| command.name);
            return known(refuse(client, found, &words, refused), is_told, name);
        }
    };
    let name = command.name;
    client.registered.presence.used(name);
    // What is queued must not keep from being freed what arrived with it.
    let words = match client.transaction {
        Some(_) => words.iter().map(|word| Bytes::copy_from_slice(word)).collect(),
        None => words,
    };
    let is_tracked = takes_next(client, command);
    match command.kind {
        Kind::Data(_) if asks_for_frequency(command, &words) && client.transaction.is_none() => {
            Dispatched::Alone { work: Work::Command(Alone::Frequency, words), is_told, command: name }
        }
        Kind::Data(plan) => {
            let planned = plan(Arguments::new(&words[1..], client.database));
            let planned = planned.map(|plan| Queued::Plan(plan.counted(&client.shared.channels)));
            let plan = plan_of(client, planned, &words).await;
            let is_tracked = is_tracked && !command.writes;
            Dispatched::Waits(Waiting { plan, is_told, command: name, is_tracked })
        }
        Kind::Composite(compose) => {
            let planned = compose(Arguments::new(&words[1..], client.database)).map(Queued::from);
            let planned = match planned {
                Ok(Queued::Composite(composite)) if client.transaction.is_none() => {
                    return Dispatched::Alone { work: Work::Composite(composite), is_told, command: name };
                }
                planned => planned,
            };
            let plan = plan_of(client, planned, &words).await;
            Dispatched::Waits(Waiting { plan, is_told, command: name, is_tracked: false })
        }
        Kind::Connection(Connection::Client) if is_tracking(&words) && client.transaction.is_none() => {
            Dispatched::Alone { work: Work::Command(Alone::Tracking, words), is_told, command: name }
        }
        Kind::Connection(kind) => {
            let is_queued = client.transaction.is_some() && !kind.ends_transaction();
            let before = client.silence;
            let reply = connection_commands::reply(kind, client, &words).await;
            if kind.shows() {
                client.show();
            }
            if is_queued {
                let waits =
                    if is_no_command(&reply) { Err(reply) } else { Ok(Queued::Plan(Plan::known(reply))) };
                let plan = queued(client, waits, &words);
                return Dispatched::Waits(Waiting { plan, is_told, command: name, is_tracked: false });
            }
            // `CLIENT REPLY` itself is answered only if it turns replies on.
            let is_told = match (before, client.silence) {
                (_, Silence::None) => is_told || before != Silence::None && kind == Connection::Client,
                _ => false,
            };
            known(reply, is_told, name)
        }
        Kind::Alone(kind)
            if client.transaction.is_some()
                && let Some(waits) = transaction::queued(client, kind, &words) =>
        {
            let plan = queued(client, waits, &words);
            Dispatched::Waits(Waiting { plan, is_told, command: name, is_tracked: false })
        }
        Kind::Alone(kind) if client.transaction.is_some() && !kind.is_in_transactions() => {
            break_transaction(client);
            let refused =
                format!("ERR {} is not supported inside MULTI by Lockstep", name.to_ascii_uppercase());
            known(Reply::error(refused), is_told, name)
        }
        Kind::Alone(kind) => Dispatched::Alone { work: Work::Command(kind, words), is_told, command: name },
    }
}

/// Whether the client is told when what this command reads changes. `CLIENT CACHING` speaks of the next command, or of the next transaction.
fn takes_next(client: &mut Client, command: &Command) -> bool {
    let is_about_next = matches!(command.kind, Kind::Connection(Connection::Client | Connection::Multi));
    let is_queued = client.transaction.is_some() && !matches!(command.kind, Kind::Alone(Alone::Exec));
    match &mut client.tracking {
        Some(tracking) if !is_about_next && !is_queued => tracking.takes_next(),
        _ => false,
    }
}

/// Whether the client wants a reply to the command that has come.
fn is_told(client: &mut Client) -> bool {
    let is_told = client.silence == Silence::None;
    if client.silence == Silence::Next {
        client.silence = Silence::None;
    }
    is_told
}

/// A command that was too large to be read: so many bytes.
pub(super) fn too_large(client: &mut Client, bytes: usize) -> Waiting {
    break_transaction(client);
    let is_told = is_told(client);
    let refused = spend(client, bytes as u64).err().unwrap_or_else(|| Reply::error(TOO_LARGE));
    Waiting { plan: Plan::known(refused), is_told, command: UNKNOWN, is_tracked: false }
}

fn known(reply: Reply, is_told: bool, command: &'static str) -> Dispatched {
    Dispatched::Waits(Waiting { plan: Plan::known(reply), is_told, command, is_tracked: false })
}

fn asks_for_frequency(command: &Command, words: &[Bytes]) -> bool {
    command.name == "object" && words.len() == 3 && words[1].eq_ignore_ascii_case(b"freq")
}

fn is_tracking(words: &[Bytes]) -> bool {
    words.get(1).is_some_and(|word| word.eq_ignore_ascii_case(b"tracking"))
}

fn break_transaction(client: &mut Client) {
    if let Some(transaction) = &mut client.transaction {
        transaction.is_broken = true;
    }
}

/// The transaction is over, and nothing is watched any more.
pub(super) fn end_transaction(client: &mut Client) {
    if let Some(transaction) = client.transaction.take() {
        client.database = transaction.database;
        client.show();
    }
    client.watched.clear();
}

/// What is done for a command about data: it is carried out, or queued.
async fn plan_of(client: &mut Client, planned: Result<Queued, Reply>, words: &[Bytes]) -> Plan {
    let planned = match planned {
        Ok(Queued::Plan(plan)) => permitted(client, plan).await.map(Queued::Plan),
        // In a transaction, it is told in its place.
        Err(refused) if !is_no_command(&refused) => Ok(Queued::Plan(Plan::known(refused))),
        planned => planned,
    };
    match (client.transaction.is_some(), planned) {
        (false, Ok(Queued::Plan(plan))) => plan,
        (false, Err(refused)) => Plan::known(refused),
        (_, planned) => queued(client, planned, words),
    }
}

/// The reply to a command that is refused. A transaction that it is in will not happen.
fn refuse(client: &mut Client, command: Option<&Command>, words: &[Bytes], refused: Reply) -> Reply {
    let takes = command.is_some_and(|command| command.takes(words.len()));
    match (command.map(|command| command.kind), takes, &refused) {
        (Some(Kind::Alone(Alone::Exec)), false, Reply::Error(text)) if text.starts_with("ERR ") => {
            end_transaction(client);
            let aborted = format!("EXECABORT Transaction discarded because of: {}", &text["ERR ".len()..]);
            Reply::error(aborted)
        }
        // Whoever has sent these goes on as if there were none.
        (Some(Kind::Alone(Alone::Exec) | Kind::Connection(Connection::Discard)), true, _) => {
            end_transaction(client);
            refused
        }
        _ => {
            break_transaction(client);
            refused
        }
    }
}

/// The command, if the client may send it now, whatever it is about.
async fn admit(
    client: &Client,
    found: Option<&'static Command>,
    words: &[Bytes],
) -> Result<&'static Command, Reply> {
    // Whatever becomes of it, it has cost something to look at it.
    spend(client, words.iter().map(|word| word.len() as u64).sum())?;
    let Some(command) = found else { return Err(unknown_command(words)) };
    if !command.takes(words.len()) {
        return Err(wrong_arity(command.name));
    }
    let is_open = matches!(
        command.kind,
        Kind::Alone(Alone::Hello | Alone::Auth | Alone::Reset) | Kind::Connection(Connection::Quit)
    );
    if !is_open && client.is_stranger() {
        return Err(Reply::error(NO_TOKEN));
    }
    // In version 2 of the protocol, replies could not be told from messages.
    let is_subscribed = client.protocol == Protocol::Resp2 && !client.subscriptions.is_empty();
    let is_about_it = matches!(
        command.kind,
        Kind::Alone(Alone::Subscribe | Alone::Reset) | Kind::Connection(Connection::Ping | Connection::Quit)
    );
    if is_subscribed && !is_about_it {
        return Err(Reply::error(format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
            command.name
        )));
    }
    // What names keys is judged by them.
    if !is_open && !matches!(command.kind, Kind::Data(_)) {
        judge(client).await?;
    }
    Ok(command)
}

/// Whether what the client has shown is still good: a token can be revoked while its connections are there.
async fn judge(client: &Client) -> Result<(), Reply> {
    let need = Need::Role(Role::Observe);
    if client.is_sentinel() || !client.shared.front.needs_token() {
        return Ok(());
    }
    match client.session().filter(|session| !session.may_now(&need)) {
        Some(session) => session.authorize(&need).await.map_err(|error| of_node(&error.error)),
        None => Ok(()),
    }
}

/// Counts a command for the address and for the token of its client.
fn spend(client: &Client, bytes: u64) -> Result<(), Reply> {
    let rates = &client.shared.front.rates;
    let mut refused = None;
    let mut spend = |limit, consumer, quota: Option<Quota>, cost| {
        if let Some(quota) = quota
            && let Some(wait) = rates.spend(limit, consumer, quota, cost).usage.exceeded
            && rates.settings().mode == RateMode::Enforce
        {
            refused = Some(wait);
        }
    };
    if rates.count_addresses() {
        let address = Consumer::Address(ClientAddress::new(client.registered.presence.address.ip()));
        spend(RateLimit::AddressRequests, address, rates.settings().requests, 1);
        spend(RateLimit::AddressBodyBytes, address, rates.settings().body_bytes, bytes);
    }
    if rates.count_tokens()
        && client.principal.token_id().is_some()
        && let Some((id, limits)) = client.session().and_then(|session| session.limits())
    {
        let TokenLimits { requests, body_bytes } = limits;
        spend(RateLimit::TokenRequests, Consumer::Token(&id), requests, 1);
        spend(RateLimit::TokenBodyBytes, Consumer::Token(&id), body_bytes, bytes);
    }
    match refused {
        Some(wait) => Err(Reply::error(format!(
            "UNAVAILABLE nothing was done: more than the rate limit allows; try again in {} ms",
            wait.as_millis().max(1)
        ))),
        None => Ok(()),
    }
}

/// The plan, if the client's token allows all of it. A whole sequence would be refused for one operation that is not allowed, so each
/// is looked at before.
async fn permitted(client: &Client, plan: Plan) -> Result<Plan, Reply> {
    if plan.ops.is_empty() || !client.shared.front.needs_token() {
        return Ok(plan);
    }
    let Some(session) = client.session() else { return Ok(plan) };
    for op in &plan.ops {
        let need = need_of(op);
        if !session.may_now(&need) {
            session.authorize(&need).await.map_err(|error| of_node(&error.error))?;
        }
    }
    Ok(plan)
}

fn need_of(op: &Op) -> Need {
    Need::Key(if op.is_write() { Role::Write } else { Role::Read }, op.key().clone())
}

/// Queues it, and says so.
fn queued(client: &mut Client, queued: Result<Queued, Reply>, words: &[Bytes]) -> Plan {
    let Some(transaction) = &mut client.transaction else { return Plan::known(Reply::OK) };
    // A reply that is known already waits with it.
    let waits = match &queued {
        Ok(Queued::Plan(plan)) => known_bytes(plan),
        _ => 0,
    };
    let bytes = words.iter().map(Bytes::len).sum::<usize>() + waits;
    Plan::known(match queued {
        Ok(queued) => match transaction.add(queued, bytes) {
            true => Reply::Status("QUEUED"),
            false => Reply::error("ERR the transaction is too large"),
        },
        Err(refused) => {
            transaction.is_broken = true;
            refused
        }
    })
}
