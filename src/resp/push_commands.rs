//! `SUBSCRIBE`, `PUBLISH` and their family, and what a client needs to be told what it has not asked for.

use super::arguments::Arguments;
use super::client::Client;
use super::errors::{Replied, unknown_subcommand, wrong_arity};
use super::feed::Feed;
use super::glob::Pattern;
use super::key::{DATABASES, name_of, name_prefix_of};
use super::plan::{Plan, Shape};
use super::reply::Reply;
use super::subscriptions::{EVENTS, is_reserved};
use super::tracking::{CHANNEL, Mode};
use crate::cache::{Key, Need, Op, Role};
use bytes::Bytes;

/// With more prefixes than these, a client is told from all names that begin as all of them do.
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
        return client.subscriptions.add(&words[1..], are_patterns, 0);
    }
    let names = names_of_channels(&words[1..], are_patterns)?;
    if !names.is_empty() {
        need_feed(client, names).await?;
    }
    let applied = client.session().map_or(0, |session| session.totals().applied_index);
    let told = client.subscriptions.add(&words[1..], are_patterns, applied);
    client.drop_feed();
    told
}

/// `PUBLISH channel message`
pub(super) fn publish(mut arguments: Arguments) -> Result<Plan, Reply> {
    let (channel, message) = (arguments.next()?, arguments.next()?.clone());
    if is_reserved(channel) {
        return Err(Reply::error("ERR only Lockstep itself publishes to channels that begin like this one"));
    }
    let channel = name_of_channel(channel)?;
    Ok(Plan::one(Op::Publish { channel, message }, Shape::Receivers(0)))
}

/// `PUBSUB CHANNELS [pattern]`, `PUBSUB NUMSUB [channel ...]`, `PUBSUB NUMPAT`: of the clients of this node.
pub(super) fn pubsub(client: &Client, arguments: &[Bytes]) -> Reply {
    let all = &client.shared.channels;
    let count = |number: u64| Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    let subcommand = String::from_utf8_lossy(&arguments[0]).to_ascii_uppercase();
    match (subcommand.as_str(), &arguments[1..]) {
        ("CHANNELS", [] | [_]) => {
            let pattern = match arguments.get(1).map(|text| Pattern::parse(text)).transpose() {
                Ok(pattern) => pattern,
                Err(refused) => return refused,
            };
            let session = client.session();
            let may_know = |channel: &Bytes| {
                let need = name_of_channel(channel).ok().map(|name| Need::Key(Role::Read, name));
                need.is_some_and(|need| session.as_ref().is_none_or(|session| session.may_now(&need)))
            };
            let names = all.names(pattern.as_ref()).into_iter().filter(may_know);
            Reply::Array(names.map(Reply::Bulk).collect())
        }
        ("NUMSUB", channels) => {
            let counts = channels
                .iter()
                .flat_map(|channel| [Reply::Bulk(channel.clone()), count(all.subscribers(channel))]);
            Reply::Array(counts.collect())
        }
        ("NUMPAT", []) => count(all.patterns()),
        ("CHANNELS", _) => {
            let name = String::from_utf8_lossy(&arguments[0]);
            Reply::error(format!(
                "ERR unknown subcommand or wrong number of arguments for '{name}'. Try PUBSUB HELP."
            ))
        }
        ("NUMPAT", _) => wrong_arity("pubsub|numpat"),
        _ => unknown_subcommand("PUBSUB", &String::from_utf8_lossy(&arguments[0])),
    }
}

/// Channels are named as keys of the first database are, and whoever may write or read such a key may publish or subscribe.
fn name_of_channel(channel: &[u8]) -> Result<Key, Reply> {
    name_of(0, channel).map_err(|error| Reply::error(format!("ERR {error}")))
}

/// What the names of the keys and channels begin with that these channels, or patterns of channels, can be about.
fn names_of_channels(channels: &[Bytes], are_patterns: bool) -> Result<Vec<String>, Reply> {
    // Other connections have what is told there.
    let is_fed = |channel: &&Bytes| are_patterns || channel.as_ref() != CHANNEL.as_bytes();
    let mut names = Vec::with_capacity(channels.len());
    for channel in channels.iter().filter(is_fed) {
        names.push(match are_patterns {
            true => prefix_of_pattern(&Pattern::parse(channel)?.literal_prefix()),
            false if is_reserved(channel) => prefix_of_events(channel).unwrap_or_default(),
            false => name_of_channel(channel)?.as_str().to_owned(),
        });
    }
    if names.iter().any(String::is_empty) {
        return Ok(vec![String::new()]);
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// The same for a pattern that begins with this; empty if it can be about anything.
fn prefix_of_pattern(literal: &[u8]) -> String {
    match literal {
        literal if is_reserved(literal) => prefix_of_events(literal).unwrap_or_default(),
        literal if EVENTS.iter().any(|start| start.starts_with(literal)) => String::new(),
        literal => name_prefix_of(0, literal),
    }
}

/// What the names of the keys begin with that a channel of events beginning with this is about. `None`: all keys.
fn prefix_of_events(literal: &[u8]) -> Option<String> {
    let rest = literal.strip_prefix(EVENTS[0])?;
    let at = rest.iter().position(|byte| *byte == b'_')?;
    let database =
        std::str::from_utf8(&rest[..at]).ok()?.parse().ok().filter(|number| *number < DATABASES)?;
    Some(name_prefix_of(database, rest[at..].strip_prefix(b"__:")?))
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
    if prefixes.len() > FEED_PREFIXES_MAX {
        prefixes = vec![common_prefix(&prefixes)];
    }
    let from = client.feed.as_ref().map(Feed::told);
    client.feed = Some(Feed::start(client, prefixes, from).await?);
    Ok(())
}

/// With what all of these begin.
fn common_prefix(names: &[String]) -> String {
    let mut common = names.first().map_or("", String::as_str);
    for name in names {
        let letters = common.char_indices().zip(name.chars());
        let end = letters.take_while(|((_, left), right)| left == right).last();
        common = &common[..end.map_or(0, |((at, letter), _)| at + letter.len_utf8())];
    }
    common.to_owned()
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
