//! `CLIENT TRACKING` and what tells of it.

use super::client::Client;
use super::errors::{Replied, not_an_integer, syntax, wrong_arity};
use super::number::parse_i64;
use super::push_commands::{names_with, need_feed, readable};
use super::reply::{Protocol, Reply};
use super::tracking::{Mode, Redirect, Tracking};
use bytes::Bytes;

/// Prefixes of a client, and bytes of all of them.
const PREFIXES_MAX: usize = 1_024;
const PREFIX_BYTES_MAX: usize = 64 * 1024;

/// What follows `ON` or `OFF`.
#[derive(Default)]
struct Options {
    redirect: Option<Redirect>,
    prefixes: Vec<Vec<u8>>,
    broadcasts: bool,
    opt_in: bool,
    opt_out: bool,
    skips_own: bool,
}

/// `CLIENT TRACKING ON | OFF [REDIRECT id] [PREFIX prefix ...] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]`
pub(super) async fn tracking(client: &mut Client, arguments: &[Bytes]) -> Replied {
    let (switch, options) = arguments.split_first().ok_or_else(|| wrong_arity("client|tracking"))?;
    let options = Options::parse(client, options)?;
    match switch.to_ascii_uppercase().as_slice() {
        b"ON" => {}
        b"OFF" => {
            client.tracking = None;
            client.drop_feed();
            return Ok(Reply::OK);
        }
        _ => return Err(syntax()),
    }
    let before = client.tracking.as_ref().map(|tracking| &tracking.mode);
    let mode = options.mode(before)?;
    if client.protocol == Protocol::Resp2 && options.redirect.is_none() {
        return Err(Reply::error(
            "ERR client tracking needs RESP3, or another connection that is told: send HELLO 3 first, or use REDIRECT",
        ));
    }
    let watched = match (&mode, options.prefixes.as_slice()) {
        (Mode::Broadcast(_), []) => readable(client, vec![String::new()]),
        (Mode::Broadcast(_), prefixes) => readable(client, names_with(prefixes)),
        _ => vec![String::new()],
    };
    need_feed(client, watched).await?;
    let (skips_own, redirect) = (options.skips_own, options.redirect);
    match &mut client.tracking {
        // What it has read stays remembered.
        Some(tracking) => {
            (tracking.mode, tracking.skips_own, tracking.redirect) = (mode, skips_own, redirect);
        }
        None => client.tracking = Some(Box::new(Tracking::new(mode, skips_own, redirect))),
    }
    client.show();
    Ok(Reply::OK)
}

impl Options {
    fn parse(client: &Client, words: &[Bytes]) -> Result<Self, Reply> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.to_ascii_uppercase().as_slice() {
                b"PREFIX" => options.prefixes.push(words.next().ok_or_else(syntax)?.to_vec()),
                b"BCAST" => options.broadcasts = true,
                b"OPTIN" => options.opt_in = true,
                b"OPTOUT" => options.opt_out = true,
                b"NOLOOP" => options.skips_own = true,
                b"REDIRECT" if options.redirect.is_some() => {
                    return Err(Reply::error("ERR A client can only redirect to a single other client"));
                }
                b"REDIRECT" => options.redirect = Some(redirect(client, words.next().ok_or_else(syntax)?)?),
                _ => return Err(syntax()),
            }
        }
        Ok(options)
    }

    /// The mode that this asks for, after the one from before.
    fn mode(&self, before: Option<&Mode>) -> Result<Mode, Reply> {
        let refused = |text: &str| Err(Reply::error(format!("ERR {text}")));
        if !self.prefixes.is_empty() && !self.broadcasts {
            return refused("PREFIX option requires BCAST mode to be enabled");
        }
        let known = match before {
            Some(Mode::Broadcast(known)) => known.clone(),
            _ => Vec::new(),
        };
        if before.is_some_and(|mode| matches!(mode, Mode::Broadcast(_)) != self.broadcasts) {
            return refused(
                "You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.",
            );
        }
        if self.broadcasts && (self.opt_in || self.opt_out) {
            return refused("OPTIN and OPTOUT are not compatible with BCAST");
        }
        if self.opt_in && self.opt_out {
            return refused("You can't specify both OPTIN mode and OPTOUT mode");
        }
        if self.opt_in && before == Some(&Mode::OptOut) || self.opt_out && before == Some(&Mode::OptIn) {
            return refused(
                "You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.",
            );
        }
        Ok(match (self.broadcasts, self.opt_in, self.opt_out) {
            (true, ..) => Mode::Broadcast(with_prefixes(known, &self.prefixes)?),
            (_, true, _) => Mode::OptIn,
            (.., true) => Mode::OptOut,
            _ => Mode::Read,
        })
    }
}

/// The connection with this id, if it is there and its client is the same user: it is told which keys the other one has read.
fn redirect(client: &Client, id: &[u8]) -> Result<Redirect, Reply> {
    let id = parse_i64(id).ok_or_else(not_an_integer)?;
    let target = u64::try_from(id).ok().and_then(|id| client.shared.front.redis_clients.get(id));
    let target = target.filter(|target| target.facts().user == client.principal.name());
    let target =
        target.ok_or_else(|| Reply::error("ERR The client ID you want redirect to does not exist"))?;
    Ok(Redirect { target, is_broken: false })
}

/// These prefixes with new ones. No two of a client may be told of the same key.
fn with_prefixes(known: Vec<Vec<u8>>, new: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Reply> {
    let mut all = known;
    if new.is_empty() && !all.contains(&Vec::new()) {
        all.push(Vec::new());
    }
    let bytes = all.iter().chain(new).map(Vec::len).sum::<usize>();
    if all.len() + new.len() > PREFIXES_MAX || bytes > PREFIX_BYTES_MAX {
        return Err(Reply::error(format!(
            "ERR a client can have {PREFIXES_MAX} prefixes, and {PREFIX_BYTES_MAX} bytes of them"
        )));
    }
    let overlaps = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
    let refused = |one: &[u8], what: &str, other: &[u8]| {
        Reply::error(format!(
            "ERR Prefix '{}' overlaps with {what} prefix '{}'. Prefixes for a single client must not overlap.",
            String::from_utf8_lossy(one),
            String::from_utf8_lossy(other)
        ))
    };
    for (at, prefix) in new.iter().enumerate() {
        if let Some(other) = all.iter().find(|other| overlaps(prefix, other)) {
            return Err(refused(prefix, "an existing", other));
        }
        if let Some(other) = new[at + 1..].iter().find(|other| overlaps(prefix, other)) {
            return Err(refused(prefix, "another provided", other));
        }
    }
    all.extend_from_slice(new);
    Ok(all)
}

/// `CLIENT CACHING YES | NO`
pub(super) fn caching(client: &mut Client, arguments: &[Bytes]) -> Reply {
    let [answer] = arguments else { return wrong_arity("client|caching") };
    let Some(tracking) = client.tracking.as_mut() else {
        return Reply::error(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        );
    };
    let wanted = match answer.to_ascii_uppercase().as_slice() {
        b"YES" => true,
        b"NO" => false,
        _ => return syntax(),
    };
    match (&tracking.mode, wanted) {
        (Mode::OptIn, true) | (Mode::OptOut, false) => tracking.next = Some(wanted),
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

/// `CLIENT GETREDIR`: who is told in this client's place, 0 if it is told itself, and -1 if nobody is.
pub(super) fn redirected_to(client: &Client) -> Reply {
    let Some(tracking) = &client.tracking else { return Reply::Integer(-1) };
    let id = tracking.redirect.as_ref().map_or(0, |redirect| redirect.target.id);
    Reply::Integer(i64::try_from(id).unwrap_or(i64::MAX))
}

/// `CLIENT TRACKINGINFO`
pub(super) fn tracking_info(client: &Client) -> Reply {
    let mut flags = vec![if client.tracking.is_some() { "on" } else { "off" }];
    let mut prefixes = Vec::new();
    if let Some(tracking) = &client.tracking {
        match &tracking.mode {
            Mode::Read => {}
            Mode::OptIn => flags.push("optin"),
            Mode::OptOut => flags.push("optout"),
            Mode::Broadcast(told) => {
                flags.push("bcast");
                prefixes = told.iter().map(Reply::bulk).collect();
            }
        }
        flags.extend(tracking.next.map(|said| if said { "caching-yes" } else { "caching-no" }));
        if tracking.skips_own {
            flags.push("noloop");
        }
        if tracking.redirect.as_ref().is_some_and(|redirect| redirect.is_broken) {
            flags.push("broken_redirect");
        }
    }
    Reply::Map(vec![
        (Reply::bulk("flags"), Reply::Set(flags.into_iter().map(Reply::bulk).collect())),
        (Reply::bulk("redirect"), redirected_to(client)),
        (Reply::bulk("prefixes"), Reply::Array(prefixes)),
    ])
}
