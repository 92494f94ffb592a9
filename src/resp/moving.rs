//! `CLIENT MAINT_NOTIFICATIONS`: a client is told when this node is about to stop, and goes on at another one before it does.

use super::client::Client;
use super::errors::{syntax, wrong_arity};
use super::reply::{Protocol, Reply};
use crate::api::RedisAddresses;
use bytes::Bytes;
use tokio::sync::watch;

/// How long clients may go on as they have been told, in seconds: a node that is started again is back by then.
const STAYS_SECONDS: i64 = 30;
/// For those that go on at the address that they know, in seconds. They do it after half of that.
const LEAVES_SECONDS: i64 = 4;

/// A client that wants to be told. While it is there, this node waits for it to leave.
#[derive(Debug)]
pub(super) struct Moving {
    told: watch::Receiver<Option<Vec<RedisAddresses>>>,
    /// It wants no address: it knows one that leads to another node.
    knows_address: bool,
    was_told: bool,
}

/// `CLIENT MAINT_NOTIFICATIONS ON [moving-endpoint-type type] | OFF`
pub(super) fn maint_notifications(client: &mut Client, arguments: &[Bytes]) -> Reply {
    let words: Vec<String> =
        arguments.iter().map(|word| String::from_utf8_lossy(word).to_ascii_lowercase()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let kind = match words[..] {
        ["off"] => {
            client.moving = None;
            return Reply::OK;
        }
        ["on"] => "internal-ip",
        ["on", "moving-endpoint-type", kind] => kind,
        [] => return wrong_arity("client|maint_notifications"),
        _ => return syntax(),
    };
    if !["none", "internal-ip", "internal-fqdn", "external-ip", "external-fqdn"].contains(&kind) {
        return syntax();
    }
    if client.protocol == Protocol::Resp2 {
        return Reply::error("ERR maintenance notifications need RESP3: send HELLO 3 first");
    }
    let (told, knows_address) = (client.shared.moving.subscribe(), kind == "none");
    client.moving = Some(Moving { told, knows_address, was_told: false });
    Reply::OK
}

impl Moving {
    /// Returns once there is something to tell.
    pub async fn begins(&self) {
        let mut told = self.told.clone();
        if self.was_told || told.wait_for(Option::is_some).await.is_err() {
            std::future::pending().await
        }
    }

    /// What the client is told.
    fn message(&self, others: Vec<RedisAddresses>, number: u64, is_encrypted: bool) -> Option<Reply> {
        let (seconds, address) = match self.knows_address {
            true => (LEAVES_SECONDS, Reply::Null),
            false => {
                let reachable = |other: RedisAddresses| if is_encrypted { other.tls } else { other.plain };
                let reachable: Vec<String> = others.into_iter().filter_map(reachable).collect();
                // Not all go to the same node.
                let at = number.checked_rem(reachable.len() as u64)?;
                (STAYS_SECONDS, Reply::bulk(&reachable[usize::try_from(at).unwrap_or(0)]))
            }
        };
        Some(Reply::Push(vec![Reply::bulk("MOVING"), Reply::Integer(1), Reply::Integer(seconds), address]))
    }
}

/// What a client is told now, once.
pub(super) fn told(client: &mut Client) -> Option<Reply> {
    let moving = client.moving.as_mut().filter(|moving| !moving.was_told)?;
    let others = moving.told.borrow().clone()?;
    moving.was_told = true;
    let message = moving.message(others, client.registered.presence.id, client.is_encrypted);
    if message.is_none() {
        // It knows of no other node, so it is not waited for.
        client.moving = None;
    }
    message
}
