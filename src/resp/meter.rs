//! Counts commands, as requests over HTTP are counted.

use super::client::Client;
use super::commands::{Kind, find};
use super::reply::Reply;
use crate::front::{REDIS_ROUTE, RequestKind};
use std::time::Duration;

/// Notes a command and how it was answered.
pub(super) fn note(client: &Client, command: &'static str, reply: &Reply, took: Duration) {
    client.shared.front.requests.note(REDIS_ROUTE, command, status(reply), took, || kind(command));
}

/// The status that HTTP would have for it.
fn status(reply: &Reply) -> u16 {
    let Reply::Error(text) = reply else { return 200 };
    match text.split(' ').next() {
        Some("OUTCOMEUNKNOWN") => 504,
        Some("UNAVAILABLE" | "LOADING") => 503,
        Some("OOM") => 507,
        Some("NOAUTH" | "WRONGPASS") => 401,
        Some("NOPERM") => 403,
        _ => 400,
    }
}

fn kind(command: &str) -> RequestKind {
    match find(command.as_bytes()).map(|command| (command.kind, command.writes)) {
        Some((_, true)) => RequestKind::Write,
        Some((Kind::Data(_), false)) => RequestKind::Read,
        _ => RequestKind::Other,
    }
}
