//! `EVAL` and its family: a script is carried out at this node, on copies, outside the state machine. What it wrote is one log entry.
//! So a script needs not be deterministic, and nodes that have no script agree all the same.

use super::arguments::Arguments;
use super::client::Client;
use super::errors::{Replied, syntax, unknown_subcommand, wrong_arity};
use super::lua::{self, Script};
use super::number::parse_i64;
use super::optimistic::too_many_scripts;
use super::reply::Reply;
use super::script_store::sha1;
use super::together;
use super::turns::deadline;
use crate::node::Session;
use bytes::Bytes;
use std::sync::Arc;
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

/// `EVAL script count [key ...] [argument ...]`, and `EVALSHA`, which names the script.
pub(super) async fn eval(client: &mut Client, session: &Session, words: &[Bytes]) -> Replied {
    let script = Arc::new(script_of(client, words)?);
    together::carry_out(client, session, script).await
}

/// The script that such a command names, with what it is given.
pub(super) fn script_of(client: &Client, words: &[Bytes]) -> Result<Script, Reply> {
    let command = words[0].to_ascii_lowercase();
    let only_reads = command.ends_with(b"_ro");
    let count = parse_i64(&words[2]).ok_or_else(super::errors::not_an_integer)?;
    let count = usize::try_from(count).map_err(|_| Reply::error("ERR Number of keys can't be negative"))?;
    let rest = &words[3..];
    if count > rest.len() {
        return Err(Reply::error("ERR Number of keys can't be greater than number of args"));
    }
    let text = match command.starts_with(b"evalsha") {
        true => client
            .shared
            .scripts
            .get(&words[1])
            .ok_or_else(|| Reply::error("NOSCRIPT No matching script. Please use EVAL."))?,
        false => {
            client.shared.scripts.add(&words[1]);
            words[1].clone()
        }
    };
    let (keys, arguments) = rest.split_at(count);
    let names = Arguments::new(keys, client.database).keys()?;
    Ok(Script {
        name: sha1(&text),
        text,
        keys: keys.to_vec(),
        names,
        arguments: arguments.to_vec(),
        database: client.database,
        only_reads,
        channels: client.shared.channels.clone(),
    })
}

/// `SCRIPT LOAD script`, `SCRIPT EXISTS name ...`, `SCRIPT FLUSH [ASYNC | SYNC]`
pub(super) async fn script(client: &Client, arguments: &[Bytes]) -> Reply {
    let scripts = &client.shared.scripts;
    let subcommand = String::from_utf8_lossy(&arguments[0]).to_ascii_uppercase();
    match (subcommand.as_str(), &arguments[1..]) {
        ("LOAD", [text]) => match check(client, text.clone()).await {
            Ok(()) => Reply::bulk(scripts.add(text)),
            Err(refused) => refused,
        },
        ("EXISTS", names) if !names.is_empty() => {
            Reply::Array(names.iter().map(|name| Reply::from(scripts.get(name).is_some())).collect())
        }
        ("FLUSH", []) => {
            scripts.clear();
            Reply::OK
        }
        ("FLUSH", [mode]) if mode.eq_ignore_ascii_case(b"async") || mode.eq_ignore_ascii_case(b"sync") => {
            scripts.clear();
            Reply::OK
        }
        ("FLUSH", [_]) => Reply::error("ERR SCRIPT FLUSH only support SYNC|ASYNC option"),
        ("KILL", []) => Reply::error("NOTBUSY No scripts in execution right now."),
        ("LOAD" | "EXISTS" | "KILL", _) => {
            wrong_arity(&format!("script|{}", subcommand.to_ascii_lowercase()))
        }
        ("FLUSH", _) => syntax(),
        _ => unknown_subcommand("SCRIPT", &String::from_utf8_lossy(&arguments[0])),
    }
}

/// Whether a text is a script. To read a long one takes a while, which no other task should wait for.
///
/// # Errors
/// It is none, or too many scripts are carried out.
async fn check(client: &Client, text: Bytes) -> Result<(), Reply> {
    let permit = timeout_at(deadline(), client.shared.script_permits.acquire()).await;
    let _permit = permit.map_err(|_| too_many_scripts())?;
    let checked = spawn_blocking(move || lua::check(&text)).await;
    checked
        .unwrap_or_else(|error| Err(error.to_string()))
        .map_err(|error| Reply::error(format!("ERR {error}")))
}
