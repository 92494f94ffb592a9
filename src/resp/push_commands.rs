//! Commands after which a client is told what it has not asked for.

use super::client::Client;
use super::errors::{Replied, syntax, wrong_arity};
use super::feed::Feed;
use super::glob::Pattern;
use super::key::{DATABASES, name_prefix_of};
use super::reply::{Protocol, Reply};
use super::tracking::{Mode, Tracking};
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
    need_feed(client, names_of_channels(&words[1..], are_patterns)?).await?;
    let told = client.subscriptions.add(&words[1..], are_patterns);
    client.drop_feed();
    told
}

/// `CLIENT TRACKING ON | OFF [PREFIX prefix ...] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]`
pub(super) async fn tracking(client: &mut Client, arguments: &[Bytes]) -> Replied {
    let mut words = arguments.iter();
    let is_on = match words.next().map(|word| word.to_ascii_uppercase()).as_deref() {
        Some(b"ON") => true,
        Some(b"OFF") => false,
        _ => return Err(syntax()),
    };
    let (mut prefixes, mut broadcasts, mut opt_in, mut opt_out, mut skips_own) =
        (Vec::new(), false, false, false, false);
    while let Some(word) = words.next() {
        match word.to_ascii_uppercase().as_slice() {
            b"PREFIX" => prefixes.push(words.next().ok_or_else(syntax)?.to_vec()),
            b"BCAST" => broadcasts = true,
            b"OPTIN" => opt_in = true,
            b"OPTOUT" => opt_out = true,
            b"NOLOOP" => skips_own = true,
            b"REDIRECT" => {
                return Err(Reply::error(
                    "ERR REDIRECT is not supported: use RESP3, where the same connection is told",
                ));
            }
            _ => return Err(syntax()),
        }
    }
    if !is_on {
        client.tracking = None;
        client.drop_feed();
        return Ok(Reply::OK);
    }
    if client.protocol == Protocol::Resp2 {
        return Err(Reply::error("ERR client tracking needs RESP3: send HELLO 3 first"));
    }
    if !prefixes.is_empty() && !broadcasts {
        return Err(Reply::error("ERR PREFIX option requires BCAST mode to be enabled"));
    }
    if broadcasts && (opt_in || opt_out) {
        return Err(Reply::error("ERR OPTIN and OPTOUT are not compatible with BCAST"));
    }
    if opt_in && opt_out {
        return Err(Reply::error("ERR You can't specify both OPTIN mode and OPTOUT mode"));
    }
    let mode = match (broadcasts, opt_in, opt_out) {
        (true, ..) if prefixes.is_empty() => Mode::Broadcast(vec![Vec::new()]),
        (true, ..) => Mode::Broadcast(prefixes),
        (_, true, _) => Mode::OptIn,
        (.., true) => Mode::OptOut,
        _ => Mode::Read,
    };
    let watched = match &mode {
        Mode::Broadcast(prefixes) => readable(client, names_with(prefixes)),
        _ => vec![String::new()],
    };
    need_feed(client, watched).await?;
    client.tracking = Some(Box::new(Tracking::new(mode, skips_own)));
    Ok(Reply::OK)
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
    let mut names = Vec::with_capacity(channels.len());
    for channel in channels {
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
fn names_with(prefixes: &[Vec<u8>]) -> Vec<String> {
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
fn readable(client: &Client, names: Vec<String>) -> Vec<String> {
    let Some(session) = client.session() else { return names };
    let may_read = |name: &&String| session.may_now(&Need::Prefix(Role::Read, (*name).clone()));
    let readable: Vec<String> = names.iter().filter(may_read).cloned().collect();
    if readable.is_empty() { names } else { readable }
}

async fn need_feed(client: &mut Client, prefixes: Vec<String>) -> Result<(), Reply> {
    if client.feed.as_ref().is_some_and(|feed| feed.covers(&prefixes)) {
        return Ok(());
    }
    // What it was told of before, it still is.
    let before = client.feed.as_ref().map(|feed| feed.prefixes().to_vec()).unwrap_or_default();
    let mut prefixes = [before, prefixes].concat();
    if prefixes.len() > FEED_PREFIXES_MAX || prefixes.iter().any(String::is_empty) {
        prefixes = vec![String::new()];
    }
    let from = client.feed.as_ref().map(Feed::told);
    client.feed = Some(Feed::start(client, prefixes, from).await?);
    Ok(())
}

/// `CLIENT CACHING YES | NO`: about the command that comes next.
pub(super) fn caching(client: &mut Client, arguments: &[Bytes]) -> Reply {
    let [answer] = arguments else { return wrong_arity("client|caching") };
    let wanted = match answer.to_ascii_uppercase().as_slice() {
        b"YES" => true,
        b"NO" => false,
        _ => return syntax(),
    };
    match (client.tracking.as_mut(), wanted) {
        (Some(tracking), true) if tracking.mode == Mode::OptIn => tracking.next = Some(true),
        (Some(tracking), false) if tracking.mode == Mode::OptOut => tracking.next = Some(false),
        (_, true) => {
            return Reply::error(
                "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
            );
        }
        (_, false) => {
            return Reply::error(
                "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
            );
        }
    }
    Reply::OK
}

/// `CLIENT TRACKINGINFO`
pub(super) fn tracking_info(client: &Client) -> Reply {
    let mut flags = Vec::new();
    let mut prefixes = Vec::new();
    match &client.tracking {
        None => flags.push("off"),
        Some(tracking) => {
            flags.push("on");
            match &tracking.mode {
                Mode::Read => {}
                Mode::OptIn => flags.push("optin"),
                Mode::OptOut => flags.push("optout"),
                Mode::Broadcast(told) => {
                    flags.push("bcast");
                    prefixes = told.iter().filter(|prefix| !prefix.is_empty()).map(Reply::bulk).collect();
                }
            }
            if tracking.skips_own {
                flags.push("noloop");
            }
        }
    }
    let redirect = if client.tracking.is_some() { 0 } else { -1 };
    Reply::Map(vec![
        (Reply::bulk("flags"), Reply::Set(flags.into_iter().map(Reply::bulk).collect())),
        (Reply::bulk("redirect"), Reply::Integer(redirect)),
        (Reply::bulk("prefixes"), Reply::Array(prefixes)),
    ])
}
