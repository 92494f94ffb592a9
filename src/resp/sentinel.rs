//! What clients ask a Redis Sentinel: where the master is. Here each node has such a port, and names itself as long as it is ready: every node
//! takes every command. A client that has the Sentinel ports of all nodes finds one that lives by it, with nothing between.
//!
//! It needs no token: whoever reaches the port knows the address that it is told. It tells nothing of the cluster.

use super::client::Client;
use super::commands::{Alone, Command, Connection, Kind};
use super::errors::unknown_command;
use super::info::REDIS_VERSION;
use super::reply::Reply;
use bytes::Bytes;

/// The only master's name in lists. Whoever asks for a master by name can call it as he likes.
const NAME: &str = "mymaster";
/// What is told of how long a silent master is waited for, in milliseconds. Nobody waits for it here.
const DOWN_AFTER_MS: &str = "5000";

/// Whether the command can be sent to a Sentinel port.
pub(super) fn takes(command: &Command, words: &[Bytes]) -> bool {
    match command.kind {
        Kind::Alone(kind) => matches!(
            kind,
            Alone::Sentinel | Alone::Hello | Alone::Auth | Alone::Reset | Alone::Info | Alone::Subscribe
        ),
        Kind::Connection(Connection::Client) => words.get(1).is_some_and(|word| {
            let word = word.to_ascii_uppercase();
            [&b"SETNAME"[..], b"GETNAME", b"SETINFO", b"ID", b"REPLY"].contains(&word.as_slice())
        }),
        Kind::Connection(kind) => matches!(
            kind,
            Connection::Ping | Connection::Echo | Connection::Quit | Connection::Command | Connection::Role
        ),
        Kind::Data(_) | Kind::Composite(_) => false,
    }
}

/// `SENTINEL subcommand [name]`
pub(super) async fn reply(client: &Client, words: &[Bytes]) -> Reply {
    let Some((host, port)) = client.sentinel_for() else { return unknown_command(words) };
    let is_ready = is_ready(client).await;
    let subcommand = words[1].to_ascii_uppercase();
    match (subcommand.as_slice(), words.len()) {
        (b"GET-MASTER-ADDR-BY-NAME", 3) => match is_ready {
            true => Reply::Array(vec![Reply::bulk(host), Reply::bulk(port.to_string())]),
            false => Reply::NullArray,
        },
        (b"MASTERS", 2) => match is_ready {
            true => Reply::Array(vec![master(client, &host, port, NAME)]),
            false => Reply::Array(Vec::new()),
        },
        (b"MASTER", 3) => match is_ready {
            true => master(client, &host, port, &String::from_utf8_lossy(&words[2])),
            false => no_master(),
        },
        // The other nodes' ports are not known here, and whoever asks has them.
        (b"SENTINELS" | b"REPLICAS" | b"SLAVES", 3) => match is_ready {
            true => Reply::Array(Vec::new()),
            false => no_master(),
        },
        (b"CKQUORUM", 3) => match is_ready {
            true => {
                Reply::Text("OK 1 usable Sentinels. Quorum and failover authorization can be reached".into())
            }
            false => Reply::error("NOQUORUM this node is not ready"),
        },
        (b"MYID", 2) => Reply::bulk(run_id(client)),
        _ => Reply::error(format!(
            "ERR Unknown sentinel subcommand or wrong number of arguments for '{}'",
            String::from_utf8_lossy(&words[1][..words[1].len().min(64)])
        )),
    }
}

/// `ROLE`
pub(super) fn role() -> Reply {
    Reply::Array(vec![Reply::bulk("sentinel"), Reply::Array(vec![Reply::bulk(NAME)])])
}

/// `INFO`
pub(super) async fn info(client: &Client) -> Reply {
    let (host, port) = client.sentinel_for().unwrap_or_default();
    let masters = u8::from(is_ready(client).await);
    let mut text = format!(
        "# Server\r\nredis_version:{REDIS_VERSION}\r\nredis_mode:sentinel\r\n\r\n# Sentinel\r\nsentinel_masters:{masters}\r\n"
    );
    if masters == 1 {
        text += &format!("master0:name={NAME},status=ok,address={host}:{port},slaves=0,sentinels=1\r\n");
    }
    Reply::Text(text)
}

async fn is_ready(client: &Client) -> bool {
    match client.session() {
        Some(session) => session.ready().await.is_ok(),
        None => false,
    }
}

fn no_master() -> Reply {
    Reply::error("ERR No such master with that name")
}

/// This node as a master, in the fields that clients look at.
fn master(client: &Client, host: &str, port: u16, name: &str) -> Reply {
    let fields = [
        ("name", name.to_owned()),
        ("ip", host.to_owned()),
        ("port", port.to_string()),
        ("runid", run_id(client)),
        ("flags", "master".into()),
        ("link-pending-commands", "0".into()),
        ("link-refcount", "1".into()),
        ("last-ping-sent", "0".into()),
        ("last-ok-ping-reply", "0".into()),
        ("last-ping-reply", "0".into()),
        ("down-after-milliseconds", DOWN_AFTER_MS.into()),
        ("info-refresh", "0".into()),
        ("role-reported", "master".into()),
        ("role-reported-time", "0".into()),
        ("config-epoch", "0".into()),
        ("num-slaves", "0".into()),
        ("num-other-sentinels", "0".into()),
        ("quorum", "1".into()),
        ("failover-timeout", "60000".into()),
        ("parallel-syncs", "1".into()),
    ];
    Reply::Map(fields.map(|(name, value)| (Reply::bulk(name), Reply::bulk(value))).into())
}

/// Forty hexadecimal digits that are the same as long as the node keeps its name.
fn run_id(client: &Client) -> String {
    let name = client.session().map(|session| session.node_name().to_owned()).unwrap_or_default();
    format!("{:032x}{:08x}", xxhash_rust::xxh3::xxh3_128(name.as_bytes()), name.len())
}
