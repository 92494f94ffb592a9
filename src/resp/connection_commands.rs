//! Commands about a connection, whose reply is known at once.

use super::client::{Client, Silence};
use super::commands::{ALL, Command, Connection, Keys, find};
use super::dispatch::end_transaction;
use super::errors::{LOADING, not_an_integer, syntax, unknown_subcommand, wrong_arity};
use super::glob::Pattern;
use super::help::help;
use super::info::policy_name;
use super::key::DATABASES;
use super::moving;
use super::number::parse_i64;
use super::push_commands;
use super::queue::Transaction;
use super::reply::{Protocol, Reply};
use super::scripts;
use super::sentinel;
use super::tracking_commands;
use crate::cache::{Need, Role};
use crate::front::Front;
use crate::node::Principal;
use bytes::Bytes;

/// The setting of Redis that says which events are told.
const EVENTS: &str = "notify-keyspace-events";

/// What `CONFIG GET` tells.
fn settings(front: &Front) -> Vec<(&'static str, String)> {
    let config = front.session(Principal::Anyone).map(|session| session.known_config()).unwrap_or_default();
    vec![
        ("appendfsync", "always".into()),
        ("appendonly", "yes".into()),
        ("databases", DATABASES.to_string()),
        ("maxmemory", config.capacity_bytes.to_string()),
        ("maxmemory-policy", policy_name(config.policy).into()),
        ("maxclients", front.limits.connections.to_string()),
        (EVENTS, "AKE".into()),
        ("proto-max-bulk-len", front.limits.value_bytes.to_string()),
        ("save", String::new()),
        ("timeout", "0".into()),
    ]
}

/// Carries it out.
pub(super) async fn reply(kind: Connection, client: &mut Client, words: &[Bytes]) -> Reply {
    let arguments = &words[1..];
    if let [_, _] = words
        && let Some(help) = help(&first(words).to_ascii_lowercase(), arguments)
    {
        return help;
    }
    let front = client.shared.front.clone();
    match kind {
        Connection::Ping => ping(client, arguments),
        Connection::Echo => Reply::Bulk(arguments[0].clone()),
        Connection::Quit => {
            client.ends = true;
            Reply::OK
        }
        Connection::Select => select(client, &arguments[0]),
        Connection::Client => about_client(client, arguments).await,
        Connection::Command => about_commands(arguments),
        Connection::Config => config(&front, arguments),
        Connection::Time => time(&front),
        Connection::Role if client.is_sentinel() => sentinel::role(),
        Connection::Role => {
            let index =
                front.session(client.principal.clone()).map_or(0, |session| session.totals().applied_index);
            let index = Reply::Integer(i64::try_from(index).unwrap_or(i64::MAX));
            Reply::Array(vec![Reply::bulk("master"), index, Reply::Array(Vec::new())])
        }
        Connection::Accepted => Reply::OK,
        // What was answered is on the disks of a majority.
        Connection::Wait => match parse_i64(&arguments[0]) {
            Some(_) => Reply::Integer(others_with_everything(client)),
            None => not_an_integer(),
        },
        Connection::WaitAof => {
            let others = others_with_everything(client);
            Reply::Array(vec![Reply::Integer(1), Reply::Integer(others)])
        }
        Connection::Multi => match client.transaction {
            Some(_) => Reply::error("ERR MULTI calls can not be nested"),
            None => {
                client.transaction = Some(Transaction::begin(client.database));
                Reply::OK
            }
        },
        Connection::Discard => match client.transaction {
            Some(_) => {
                end_transaction(client);
                Reply::OK
            }
            None => Reply::error("ERR DISCARD without MULTI"),
        },
        Connection::Unwatch => {
            // In a transaction it comes after the watched keys were looked at.
            if client.transaction.is_none() {
                client.watched.clear();
            }
            Reply::OK
        }
        Connection::Acl => match words_of(arguments).first().map(String::as_str) {
            Some("WHOAMI") => {
                let name = client.principal.name();
                Reply::bulk(if name.is_empty() { "default" } else { &name })
            }
            _ => unknown_subcommand("ACL", &first(arguments)),
        },
        Connection::Script => scripts::script(client, arguments).await,
        Connection::Function => match words_of(arguments).first().map(String::as_str) {
            Some("FLUSH") => Reply::OK,
            Some("LIST") => Reply::Array(Vec::new()),
            _ => unknown_subcommand("FUNCTION", &first(arguments)),
        },
        // Slow commands are not kept: the metrics have latencies.
        Connection::PubSub => push_commands::pubsub(client, arguments),
        Connection::SlowLog => match words_of(arguments).first().map(String::as_str) {
            Some("GET") => Reply::Array(Vec::new()),
            Some("LEN") => Reply::Integer(0),
            Some("RESET") => Reply::OK,
            _ => unknown_subcommand("SLOWLOG", &first(arguments)),
        },
    }
}

/// A balancer asks by this whether clients can be sent here.
fn ping(client: &mut Client, arguments: &[Bytes]) -> Reply {
    match client.session() {
        None => {
            client.ends = true;
            return Reply::error(LOADING);
        }
        Some(session)
            if session.leader().is_none()
                || !session.has_majority()
                || session.is_draining()
                // Whoever is told where to go on needs no balancer.
                || client.moving.is_none() && client.shared.moving.borrow().is_some() =>
        {
            return Reply::error(
                "UNAVAILABLE nothing was done: this node knows no leader, reaches no majority, or is about to stop",
            );
        }
        Some(_) => {}
    }
    if client.protocol == Protocol::Resp2 && !client.subscriptions.is_empty() {
        let text = arguments.first().cloned().unwrap_or_default();
        return Reply::Array(vec![Reply::bulk("pong"), Reply::Bulk(text)]);
    }
    match arguments {
        [] => Reply::Status("PONG"),
        [text] => Reply::Bulk(text.clone()),
        _ => wrong_arity("ping"),
    }
}

/// A majority has everything that was answered; this node is one of it.
fn others_with_everything(client: &Client) -> i64 {
    client.session().map_or(0, |session| session.others_with_everything() as i64)
}

fn select(client: &mut Client, text: &[u8]) -> Reply {
    match parse_i64(text) {
        None => Reply::error("ERR value is not an integer or out of range"),
        Some(number) => match u8::try_from(number).ok().filter(|number| *number < DATABASES) {
            Some(number) => {
                client.database = number;
                Reply::OK
            }
            None => Reply::error("ERR DB index is out of range"),
        },
    }
}

fn time(front: &Front) -> Reply {
    let now_ms = front.session(crate::node::Principal::Anyone).map_or(0, |session| session.now_ms());
    Reply::time(now_ms)
}

fn words_of(arguments: &[Bytes]) -> Vec<String> {
    arguments.iter().map(|word| String::from_utf8_lossy(word).to_ascii_uppercase()).collect()
}

fn first(arguments: &[Bytes]) -> String {
    arguments.first().map(|name| String::from_utf8_lossy(name).into_owned()).unwrap_or_default()
}

/// Whether a client may be called so: visible ASCII.
fn is_name(name: &[u8]) -> bool {
    const NAME_BYTES_MAX: usize = 256;
    name.len() <= NAME_BYTES_MAX && name.iter().all(|byte| (0x21..0x7f).contains(byte))
}

/// Gives it a name.
pub(super) fn set_name(client: &mut Client, name: &[u8]) -> Reply {
    if !is_name(name) {
        return Reply::error("ERR Client names cannot contain spaces, newlines or special characters.");
    }
    client.name = String::from_utf8_lossy(name).into_owned();
    Reply::OK
}

async fn about_client(client: &mut Client, arguments: &[Bytes]) -> Reply {
    let words = words_of(arguments);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["ID"] => Reply::Integer(client.id()),
        ["GETNAME"] if client.name.is_empty() => Reply::Null,
        ["GETNAME"] => Reply::bulk(&client.name),
        ["SETNAME", _] => set_name(client, &arguments[1]),
        ["SETINFO", what @ ("LIB-NAME" | "LIB-VER"), _] => {
            if !is_name(&arguments[2]) {
                return Reply::error(format!(
                    "ERR {} cannot contain spaces, newlines or special characters.",
                    what.to_ascii_lowercase()
                ));
            }
            let text = String::from_utf8_lossy(&arguments[2]).into_owned();
            client.library[usize::from(what == "LIB-VER")] = text;
            Reply::OK
        }
        ["SETINFO", what, _] => {
            Reply::error(format!("ERR Unrecognized option '{}'", what.to_ascii_lowercase()))
        }
        ["INFO"] => Reply::Text(client.registered.presence.line()),
        ["LIST", ..] => list_clients(client, &words[1..]).await,
        ["KILL", ..] => kill_clients(client, &words[1..]).await,
        ["CACHING", ..] => tracking_commands::caching(client, &arguments[1..]),
        ["MAINT_NOTIFICATIONS", ..] => moving::maint_notifications(client, &arguments[1..]),
        ["TRACKINGINFO"] => tracking_commands::tracking_info(client),
        ["GETREDIR"] => tracking_commands::redirected_to(client),
        ["NO-EVICT", "ON" | "OFF"] => Reply::OK,
        ["NO-TOUCH", on @ ("ON" | "OFF")] => {
            client.touches = on == "OFF";
            Reply::OK
        }
        ["REPLY", "ON"] => {
            client.silence = Silence::None;
            Reply::OK
        }
        ["REPLY", "OFF"] => {
            client.silence = Silence::All;
            Reply::OK
        }
        ["REPLY", "SKIP"] => {
            client.silence = Silence::Next;
            Reply::OK
        }
        ["REPLY", ..] => syntax(),
        [
            "SETNAME" | "GETNAME" | "GETREDIR" | "TRACKINGINFO" | "ID" | "SETINFO" | "INFO" | "NO-EVICT"
            | "NO-TOUCH",
            ..,
        ] => wrong_arity(&format!("client|{}", words[0].to_ascii_lowercase())),
        _ => unknown_subcommand("CLIENT", &first(arguments)),
    }
}

/// Whether the client may know of the others, and have them leave.
async fn knows_others(client: &Client) -> bool {
    let (Some(session), need) = (client.session(), Need::Role(Role::Admin)) else { return false };
    // A node that does not know of tokens makes sure that there are none.
    session.may_now(&need) && (session.needs_token() || session.authorize(&need).await.is_ok())
}

/// `CLIENT LIST [ID id ...] [TYPE type]`. Others are shown to admins.
async fn list_clients(client: &Client, options: &[&str]) -> Reply {
    let ids: Option<Vec<u64>> = match options {
        [] | ["TYPE", "NORMAL"] => None,
        ["TYPE", "MASTER" | "REPLICA" | "SLAVE" | "PUBSUB"] => Some(Vec::new()),
        ["TYPE", other] => {
            return Reply::error(format!("ERR Unknown client type '{}'", other.to_ascii_lowercase()));
        }
        ["ID", ids @ ..] if !ids.is_empty() => match ids.iter().map(|id| id.parse().ok()).collect() {
            Some(ids) => Some(ids),
            None => return Reply::error("ERR Invalid client ID"),
        },
        _ => return syntax(),
    };
    let all = if knows_others(client).await {
        client.shared.front.redis_clients.all()
    } else {
        vec![client.registered.presence.clone()]
    };
    let wanted = all.iter().filter(|other| ids.as_ref().is_none_or(|ids| ids.contains(&other.id)));
    Reply::Text(wanted.map(|other| other.line()).collect())
}

/// `CLIENT KILL address` and `CLIENT KILL [ID id] [ADDR address] [SKIPME yes | no]`, for admins.
async fn kill_clients(client: &mut Client, options: &[&str]) -> Reply {
    if !knows_others(client).await {
        return Reply::error("NOPERM only an admin can have clients leave");
    }
    if options.is_empty() {
        return wrong_arity("client|kill");
    }
    let all = client.shared.front.redis_clients.all();
    let own = client.registered.presence.id;
    let is_old = options.len() == 1;
    let (mut id, mut address, mut skips_own) = (None, None, true);
    match options {
        [text] => (address, skips_own) = (Some((*text).to_owned()), false),
        _ => {
            for pair in options.chunks(2) {
                match pair {
                    ["ID", text] => match text.parse::<u64>() {
                        Ok(number) => id = Some(number),
                        Err(_) => return Reply::error("ERR client-id should be greater than 0"),
                    },
                    ["ADDR", text] => address = Some((*text).to_owned()),
                    ["SKIPME", text @ ("YES" | "NO")] => skips_own = *text == "YES",
                    _ => return syntax(),
                }
            }
        }
    }
    let mut count = 0;
    for other in all {
        let is_meant = id.is_none_or(|id| other.id == id)
            && address.as_ref().is_none_or(|address| other.address.to_string().eq_ignore_ascii_case(address))
            && !(skips_own && other.id == own);
        if is_meant {
            count += 1;
            if other.id == own { client.ends = true } else { other.end() }
        }
    }
    match (is_old, count) {
        (true, 0) => Reply::error("ERR No such client"),
        (true, _) => Reply::OK,
        (false, count) => Reply::Integer(count),
    }
}

fn about_commands(arguments: &[Bytes]) -> Reply {
    let words = words_of(arguments);
    match words.first().map(String::as_str) {
        None => Reply::Array(ALL.iter().map(details).collect()),
        Some("COUNT") => Reply::Integer(ALL.len() as i64),
        Some("LIST") => Reply::Array(ALL.iter().map(|command| Reply::bulk(command.name)).collect()),
        Some("INFO") => {
            let named = arguments[1..].iter().map(|name| find(name).map_or(Reply::NullArray, details));
            Reply::Array(named.collect())
        }
        Some("GETKEYS") => keys_of(&arguments[1..]),
        Some("DOCS") => Reply::Map(Vec::new()),
        Some(_) => unknown_subcommand("COMMAND", &first(arguments)),
    }
}

/// Name, arity, flags, and where its keys are.
fn details(command: &Command) -> Reply {
    let Keys { first, last, step } = command.keys;
    let flag = if command.writes { "write" } else { "readonly" };
    let flags =
        if command.keys.step == 0 && !command.writes { Vec::new() } else { vec![Reply::Status(flag)] };
    let none = || Reply::Set(Vec::new());
    let mut details =
        vec![Reply::bulk(command.name), Reply::Integer(i64::from(command.arity)), Reply::Set(flags)];
    details.extend([first, last, step].map(Reply::Integer));
    details.extend([none(), none(), none(), Reply::Array(Vec::new())]);
    Reply::Array(details)
}

/// `COMMAND GETKEYS command ...`
fn keys_of(words: &[Bytes]) -> Reply {
    let Some(command) = words.first().and_then(|name| find(name)) else {
        return Reply::error("ERR Invalid command specified");
    };
    if !command.takes(words.len()) {
        return Reply::error("ERR Invalid number of arguments specified for command");
    }
    let keys: Vec<Reply> =
        command.keys.positions(words.len()).map(|at| Reply::Bulk(words[at].clone())).collect();
    match keys.is_empty() {
        true => Reply::error("ERR The command has no key arguments"),
        false => Reply::Array(keys),
    }
}

fn config(front: &Front, arguments: &[Bytes]) -> Reply {
    let words = words_of(arguments);
    match words.first().map(String::as_str) {
        Some("GET") if arguments.len() > 1 => {
            let patterns = arguments[1..].iter().map(|pattern| Pattern::parse(&pattern.to_ascii_lowercase()));
            let patterns: Vec<Pattern> = match patterns.collect() {
                Ok(patterns) => patterns,
                Err(refused) => return refused,
            };
            let wanted = |name: &str| patterns.iter().any(|pattern| pattern.matches(name.as_bytes()));
            let all = settings(front).into_iter().filter(|(name, _)| wanted(name));
            Reply::Map(all.map(|(name, value)| (Reply::bulk(name), Reply::bulk(value))).collect())
        }
        Some("RESETSTAT") => Reply::OK,
        Some("SET") if arguments.len() > 2 && arguments.len() % 2 == 1 => config_set(front, &arguments[1..]),
        _ => unknown_subcommand("CONFIG", &first(arguments)),
    }
}

/// `CONFIG SET name value ...`: what is so already is accepted, and that events are told, which they always are.
fn config_set(front: &Front, pairs: &[Bytes]) -> Reply {
    for pair in pairs.chunks(2) {
        let [name, value] = pair else { return syntax() };
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let known = settings(front).into_iter().find(|(known, _)| *known == name);
        let is_fine = name == EVENTS
            || known.as_ref().is_some_and(|(_, known)| value.eq_ignore_ascii_case(known.as_bytes()));
        if !is_fine {
            return Reply::error(match known {
                Some(_) => format!(
                    "ERR CONFIG SET failed (possibly related to argument '{name}') - can't set immutable config: \
                     `lockstep config` changes the cluster's settings"
                ),
                None => format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'"),
            });
        }
    }
    Reply::OK
}

/// The version that a client asks for with `HELLO`.
pub(super) fn protocol_of(text: &[u8]) -> Result<Protocol, Reply> {
    match parse_i64(text) {
        Some(2) => Ok(Protocol::Resp2),
        Some(3) => Ok(Protocol::Resp3),
        Some(_) => Err(Reply::error("NOPROTO unsupported protocol version")),
        None => Err(Reply::error("ERR Protocol version is not an integer or out of range")),
    }
}
