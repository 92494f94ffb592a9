//! How a client says who it is and how it wants to be answered.

use super::client::Client;
use super::connection_commands::{protocol_of, set_name};
use super::errors::{LOADING, NO_TOKEN, of_node, syntax};
use super::info::REDIS_VERSION;
use super::push_commands;
use super::reply::{Protocol, Reply};
use crate::cache::{Need, Role};
use crate::node::Principal;
use bytes::Bytes;

const DEFAULT_USER: &[u8] = b"default";

/// `HELLO [version [AUTH user password] [SETNAME name]]`
pub(super) async fn hello(client: &mut Client, arguments: &[Bytes]) -> Reply {
    let mut rest = arguments;
    let mut protocol = client.protocol;
    if let Some((version, after)) = rest.split_first() {
        protocol = match protocol_of(version) {
            Ok(protocol) => protocol,
            Err(error) => return error,
        };
        rest = after;
    }
    let (mut login, mut name) = (None, None);
    while let Some((option, after)) = rest.split_first() {
        match (option.to_ascii_uppercase().as_slice(), after) {
            (b"AUTH", [user, password, after @ ..]) => {
                login = Some((user, password));
                rest = after;
            }
            (b"SETNAME", [given, after @ ..]) => {
                name = Some(given);
                rest = after;
            }
            _ => {
                let option = String::from_utf8_lossy(option);
                return Reply::error(format!("ERR Syntax error in HELLO option '{option}'"));
            }
        }
    }
    // Nothing was changed by then.
    if protocol == Protocol::Resp2
        && client.tracking.as_ref().is_some_and(|tracking| tracking.redirect.is_none())
    {
        return Reply::error(
            "ERR this connection is told by client tracking, which needs RESP3: turn that off first",
        );
    }
    if let Some((user, password)) = login
        && let Reply::Error(error) = auth(client, user, password).await
    {
        return Reply::Error(error);
    }
    if client.is_stranger() {
        return Reply::error(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
             <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the \
             same time",
        );
    }
    if let Some(name) = name
        && let Reply::Error(error) = set_name(client, name)
    {
        return Reply::Error(error);
    }
    client.protocol = protocol;
    if protocol == Protocol::Resp2 {
        client.moving = None;
    }
    client.show();
    let version = if protocol == Protocol::Resp3 { 3 } else { 2 };
    let facts = [
        ("server", Reply::bulk("redis")),
        ("version", Reply::bulk(REDIS_VERSION)),
        ("proto", Reply::Integer(version)),
        ("id", Reply::Integer(client.id())),
        ("mode", Reply::bulk(if client.is_sentinel() { "sentinel" } else { "standalone" })),
        ("role", Reply::bulk("master")),
        ("modules", Reply::Array(Vec::new())),
    ];
    Reply::Map(facts.map(|(name, fact)| (Reply::bulk(name), fact)).into())
}

/// `AUTH [user] password`
pub(super) async fn auth_command(client: &mut Client, arguments: &[Bytes]) -> Reply {
    match arguments {
        [_] if !asks_for_token(client).await => Reply::error(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
                 configuration is correct?",
        ),
        [password] => auth(client, DEFAULT_USER, password).await,
        [user, password] => auth(client, user, password).await,
        _ => syntax(),
    }
}

/// The password is a token. Whoever names a user means the default one, or the one that the token speaks of.
async fn auth(client: &mut Client, user: &[u8], password: &[u8]) -> Reply {
    let wrong = || Reply::error("WRONGPASS invalid username-password pair or user is disabled.");
    // What `redis-cli -u redis://:token@host` sends.
    let user = if user.is_empty() { DEFAULT_USER } else { user };
    if !asks_for_token(client).await {
        // The default user needs no password then, and there is no other.
        return if user == DEFAULT_USER { Reply::OK } else { wrong() };
    }
    let principal = std::str::from_utf8(password).ok().and_then(|token| client.shared.principal_with(token));
    let Some(principal) = principal else { return wrong() };
    if user != DEFAULT_USER && user != principal.name().as_bytes() {
        return wrong();
    }
    let before = std::mem::replace(&mut client.principal, principal);
    let is_other = client.principal != before;
    let judged = match client.session() {
        Some(session) => {
            session.authorize(&Need::Role(Role::Observe)).await.map_err(|error| of_node(&error.error))
        }
        None => Err(Reply::error(LOADING)),
    };
    let refused = match judged {
        Ok(()) if is_other => push_commands::renew_feed(client).await.err().map(not_told),
        Ok(()) => None,
        Err(refused) if refused == Reply::error(NO_TOKEN) => Some(wrong()),
        Err(refused) => Some(refused),
    };
    match refused {
        Some(refused) => {
            client.principal = before;
            refused
        }
        None => {
            client.show();
            Reply::OK
        }
    }
}

/// Whoever a client becomes must be allowed to know what the connection is told already.
fn not_told(refused: Reply) -> Reply {
    match refused {
        Reply::Error(text) if text.starts_with("NOPERM") => Reply::error(
            "NOPERM this token may not read all that the connection is subscribed to or tracks: nothing was changed; end \
             that first, or send RESET",
        ),
        refused => refused,
    }
}

/// Whether clients need a token. A node that has just started looks for a newer state first.
async fn asks_for_token(client: &Client) -> bool {
    let front = &client.shared.front;
    if front.needs_token() || !front.may_need_token() {
        return front.needs_token();
    }
    match front.session(Principal::Anyone) {
        Some(session) => session.authorize(&Need::Role(Role::Observe)).await.is_err(),
        None => true,
    }
}
