//! Errors in the words that Redis clients know. A code that makes a client repeat a whole pipeline by itself (`LOADING`, `READONLY`,
//! `TRYAGAIN`, `CLUSTERDOWN`, ...) is never used once something may have been carried out.

use super::reply::Reply;
use crate::api::{Effect, ErrorCode};
use crate::cache::{CommandError, InvalidField};
use crate::node::{NodeError, SessionError};
use bytes::Bytes;

pub(super) const SYNTAX: &str = "ERR syntax error";
pub(super) const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
pub(super) const NOT_FINITE: &str = "ERR increment would produce NaN or Infinity";
pub(super) const TOO_MUCH: &str = "ERR the answer is too large: ask for fewer fields at a time";
pub(super) const NOT_A_FLOAT: &str = "ERR value is not a valid float";
pub(super) const WRONG_KIND: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
pub(super) const NO_KEY: &str = "ERR no such key";
pub(super) const NO_TOKEN: &str = "NOAUTH Authentication required.";
pub(super) const LOADING: &str = "LOADING this node has not found its cluster yet";
pub(super) const TOO_LARGE: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";

/// A command that does not fit one log entry.
pub(super) fn too_large() -> Reply {
    Reply::error("ERR the command is too large to be carried out in one step: 16,384 keys, or 2 MiB")
}

pub(super) fn syntax() -> Reply {
    Reply::error(SYNTAX)
}

pub(super) fn not_an_integer() -> Reply {
    Reply::error(NOT_AN_INTEGER)
}

pub(super) fn invalid_expiry(command: &str) -> Reply {
    Reply::error(format!("ERR invalid expire time in '{command}' command"))
}

pub(super) fn wrong_arity(command: &str) -> Reply {
    Reply::error(format!("ERR wrong number of arguments for '{command}' command"))
}

pub(super) fn out_of_range(from: i64, to: i64) -> Reply {
    Reply::error(format!("ERR value is out of range, value must between {from} and {to}"))
}

/// A reply, or an error in its place.
pub(super) type Replied = Result<Reply, Reply>;

pub(super) fn failed(error: SessionError) -> Reply {
    of_node(&error.error)
}

/// A request that failed as a whole.
pub(super) fn of_node(error: &NodeError) -> Reply {
    let code = error.code();
    match (error, code, code.effect()) {
        (NodeError::Refused { error, .. }, ..) => of_command(error),
        (.., Effect::Unknown) => Reply::error(format!("OUTCOMEUNKNOWN {error}")),
        (_, ErrorCode::Unauthorized, _) => Reply::error(NO_TOKEN),
        (_, ErrorCode::Forbidden, _) => Reply::error(format!("NOPERM {error}")),
        (NodeError::TooLarge { .. }, ..) => too_large(),
        (_, ErrorCode::Unavailable | ErrorCode::Superseded | ErrorCode::Busy | ErrorCode::RateLimited, _) => {
            Reply::error(format!("UNAVAILABLE nothing was done: {error}"))
        }
        _ => Reply::error(format!("ERR {error}")),
    }
}

/// An operation that the state machine refused.
pub(super) fn of_command(error: &CommandError) -> Reply {
    match error {
        CommandError::CacheFull { .. } => {
            Reply::error("OOM command not allowed when used memory > 'maxmemory'.")
        }
        CommandError::NotANumber { .. } => not_an_integer(),
        CommandError::WrongKind { .. } => Reply::error(WRONG_KIND),
        CommandError::Overflow { .. } => Reply::error("ERR increment or decrement would overflow"),
        CommandError::TooLarge { .. } | CommandError::Invalid { field: InvalidField::Value, .. } => {
            Reply::error(TOO_LARGE)
        }
        error => Reply::error(format!("ERR {error}")),
    }
}

/// Whether it says that there is no such command, or that it has other arguments: in a transaction that is told at once, and ends it.
pub(super) fn is_no_command(reply: &Reply) -> bool {
    let Reply::Error(text) = reply else { return false };
    let is_of_subcommand = |rest: &str| rest.split_once('\'').is_some_and(|(name, _)| name.contains('|'));
    text.starts_with("ERR unknown subcommand '")
        || text.strip_prefix("ERR wrong number of arguments for '").is_some_and(is_of_subcommand)
}

pub(super) fn unknown_subcommand(command: &str, name: &str) -> Reply {
    let name: String = name.chars().take(128).collect();
    Reply::error(format!("ERR unknown subcommand '{name}'. Try {command} HELP."))
}

/// Clients test for these words.
pub(super) fn unknown_command(words: &[Bytes]) -> Reply {
    const SHOWN_BYTES: usize = 128;
    // Up to a zero byte, as Redis prints them.
    let shown = |word: &Bytes, bytes: usize| {
        let end = word.iter().take(bytes).position(|byte| *byte == 0).unwrap_or(word.len().min(bytes));
        String::from_utf8_lossy(&word[..end]).into_owned()
    };
    let mut arguments = String::new();
    for word in &words[1..] {
        if arguments.len() >= SHOWN_BYTES {
            break;
        }
        arguments += &format!("'{}' ", shown(word, SHOWN_BYTES - arguments.len()));
    }
    let name = shown(&words[0], SHOWN_BYTES);
    Reply::error(format!("ERR unknown command '{name}', with args beginning with: {arguments}"))
}
