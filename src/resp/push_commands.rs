//! `SUBSCRIBE` and its family, and what a client needs to be told what it has not asked for.

use super::client::Client;
use super::errors::Replied;
use super::feed::Feed;
use super::glob::Pattern;
use super::key::{DATABASES, name_prefix_of};
use super::reply::Reply;
use super::tracking::{CHANNEL, Mode};
use crate::cache::{Need, Role};
use bytes::Bytes;

/// With more prefixes than these, a client is told from all keys.
const FEED_PREFIXES_MAX: usize = 16;

/// `SUBSCRIBE channel ...`, `PSUBSCRIBE pattern ...`, and `UNSUBSCRIBE` and `PUNSUBSCRIBE`.
pub(super) async fn subscribe(client: &mut Client, words: &[Bytes]) -> Replied {
    let command = words[0].to_ascii_lowercase();
    let are_patterns = command.starts_with(b"p");
    if command.ends_with(b"unsubscribe") {
        let told = client.subscriptions.remove(&words[1..], are_patterns);
        client.drop_feed();
        return Ok(told);
    }
    if client.is_sentinel() {
        // Nothing is ever told: a node that stops ends its connections, and clients ask again then.
        return client.subscriptions.add_any(&words[1..], are_patterns);
    }
    let names = names_of_channels(&words[1..], are_patterns)?;
    if !names.is_empty() {
        need_feed(client, names).await?;
    }
    let told = client.subscriptions.add(&words[1..], are_patterns);
    client.drop_feed();
    told
}

/// What the names of the keys begin with that these channels, or patterns of channels, can be about.
fn names_of_channels(channels: &[Bytes], are_patterns: bool) -> Result<Vec<String>, Reply> {
    let of = |literal: Vec<u8>| {
        let rest = literal.strip_prefix(b"__keyspace@")?;
        let at = rest.iter().position(|byte| *byte == b'_')?;
        let database =
            std::str::from_utf8(&rest[..at]).ok()?.parse().ok().filter(|number| *number < DATABASES)?;
        Some(name_prefix_of(database, rest[at..].strip_prefix(b"__:")?))
    };
    // Other connections have what is told there.
    let is_about_keys = |channel: &&Bytes| are_patterns || channel.as_ref() != CHANNEL.as_bytes();
    let mut names = Vec::with_capacity(channels.len());
    for channel in channels.iter().filter(is_about_keys) {
        let literal = if are_patterns { Pattern::parse(channel)?.literal_prefix() } else { channel.to_vec() };
        names.push(of(literal).unwrap_or_default());
    }
    if names.iter().any(String::is_empty) {
        return Ok(vec![String::new()]);
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// What the names of keys with these prefixes begin with, in every database.
pub(super) fn names_with(prefixes: &[Vec<u8>]) -> Vec<String> {
    if prefixes.iter().any(Vec::is_empty) {
        return vec![String::new()];
    }
    let of = |prefix: &Vec<u8>| {
        (0..DATABASES).map(|database| name_prefix_of(database, prefix)).collect::<Vec<_>>()
    };
    let mut names: Vec<String> = prefixes.iter().flat_map(of).collect();
    // One letter that is not whole begins with anything.
    if names.iter().any(String::is_empty) {
        return vec![String::new()];
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// Those that the client's token may read, or all if it may read none: a token for a prefix has it in the first database only, and
/// what it cannot read it need not be told of.
pub(super) fn readable(client: &Client, names: Vec<String>) -> Vec<String> {
    let Some(session) = client.session() else { return names };
    let may_read = |name: &&String| session.may_now(&Need::Prefix(Role::Read, (*name).clone()));
    let readable: Vec<String> = names.iter().filter(may_read).cloned().collect();
    if readable.is_empty() { names } else { readable }
}

/// Has it told of all names with these prefixes from now on.
pub(super) async fn need_feed(client: &mut Client, prefixes: Vec<String>) -> Result<(), Reply> {
    if client.feed.as_ref().is_some_and(|feed| feed.covers(&prefixes)) {
        return Ok(());
    }
    // What it was told of before, it still is.
    let before = client.feed.as_ref().map(|feed| feed.prefixes().to_vec()).unwrap_or_default();
    start_feed(client, [before, prefixes].concat()).await
}

/// Has it told of these names only, from what it was told last on.
async fn start_feed(client: &mut Client, mut prefixes: Vec<String>) -> Result<(), Reply> {
    if prefixes.len() > FEED_PREFIXES_MAX || prefixes.iter().any(String::is_empty) {
        prefixes = vec![String::new()];
    }
    let from = client.feed.as_ref().map(Feed::told);
    client.feed = Some(Feed::start(client, prefixes, from).await?);
    Ok(())
}

/// Has it told by the right of its present principal what it is told already. Nothing is missed, and what waits to be told by the right of an
/// earlier one is not told.
///
/// # Errors
/// A reply that says why not. It is told by the earlier right then.
pub(super) async fn renew_feed(client: &mut Client) -> Result<(), Reply> {
    if client.feed.is_none() {
        return Ok(());
    }
    let (channels, patterns) = client.subscriptions.names();
    let mut names = [names_of_channels(&channels, false)?, names_of_channels(&patterns, true)?].concat();
    names.extend(match client.tracking.as_ref().map(|tracking| &tracking.mode) {
        Some(Mode::Broadcast(prefixes)) => readable(client, names_with(prefixes)),
        Some(_) => vec![String::new()],
        None => Vec::new(),
    });
    if names.is_empty() {
        client.feed = None;
        return Ok(());
    }
    start_feed(client, names).await
}
