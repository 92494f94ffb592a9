//! Commands about all keys of a database.

use super::arguments::Arguments;
use super::client::Client;
use super::errors::{Replied, failed, syntax};
use super::glob;
use super::key::{database_prefix, key_of, name_prefix_of, other_databases};
use super::plan::name_of_kind;
use super::plan::{Plan, Shape};
use super::reply::Reply;
use super::run::Run;
use crate::cache::{Command, Condition, Op, Outcome, Scanned};
use crate::node::{ListKeys, Session};
use bytes::Bytes;

/// Keys that are looked at at a time.
const PAGE_KEYS: usize = 10_000;
/// Keys that `KEYS` tells at most.
const KEYS_MAX: usize = 1_000_000;
/// And bytes of them.
const KEYS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Places that a `SCAN` looks at.
const SCAN_SLOTS_MIN: usize = 100;
const SCAN_SLOTS_MAX: usize = 10_000;

/// `KEYS pattern`: those of one moment.
pub(super) async fn keys(database: u8, session: &Session, pattern: &[u8]) -> Replied {
    let prefix = name_prefix_of(database, &glob::literal_prefix(pattern));
    let (mut found, mut bytes) = (Vec::new(), 0);
    let mut after = None;
    loop {
        let request =
            ListKeys { prefix: prefix.clone(), after: after.take(), limit: PAGE_KEYS, ..ListKeys::default() };
        let page = session.list(request).await.map_err(failed)?.value;
        for listed in &page.keys {
            let key = key_of(database, listed.key.as_str());
            if let Some(key) = key.filter(|key| glob::matches(pattern, key)) {
                bytes += key.len();
                found.push(Reply::Bulk(key.into()));
            }
        }
        if found.len() > KEYS_MAX || bytes > KEYS_BYTES_MAX {
            return Err(Reply::error("ERR there are too many keys: use SCAN"));
        }
        match page.keys.last().filter(|_| page.more) {
            Some(last) => after = Some(last.key.as_str().to_owned()),
            None => return Ok(Reply::Array(found)),
        }
    }
}

/// `SCAN cursor [MATCH pattern] [COUNT n] [TYPE type]`. The cursor is a place in the cache's own table, which is the same on all nodes and
/// after a restart, and a key keeps its place as long as it lives: one that is there during the whole walk is told once.
pub(super) async fn scan(client: &mut Client, session: &Session, arguments: &[Bytes]) -> Replied {
    let mut rest = Arguments::new(arguments, client.database);
    let cursor = cursor_of(rest.next()?)?;
    let (mut pattern, mut count, mut wanted) = (None, 10, None);
    while let Some(option) = rest.option() {
        match option.as_str() {
            "MATCH" => pattern = Some(rest.next()?.clone()),
            "COUNT" => {
                count = rest.integer()?;
                if count < 1 {
                    return Err(syntax());
                }
            }
            "TYPE" => wanted = Some(rest.next()?.to_ascii_lowercase()),
            _ => return Err(syntax()),
        }
    }
    let slots = usize::try_from(count).unwrap_or(SCAN_SLOTS_MAX).clamp(SCAN_SLOTS_MIN, SCAN_SLOTS_MAX);
    let prefix = pattern.as_ref().map(|pattern| glob::literal_prefix(pattern)).unwrap_or_default();
    let prefix = name_prefix_of(client.database, &prefix);
    let read = session.scan(&prefix, cursor, slots).await.map_err(failed)?;
    client.seen_index = client.seen_index.max(read.index);
    let Scanned { keys: names, next, .. } = read.value;
    let is_wanted = |kind| wanted.as_ref().is_none_or(|wanted| *wanted == name_of_kind(kind).as_bytes());
    let names = names.iter().filter(|(_, kind)| is_wanted(*kind));
    let keys = names.filter_map(|(name, _)| key_of(client.database, name.as_str()));
    let fits = |key: &Vec<u8>| pattern.as_ref().is_none_or(|pattern| glob::matches(pattern, key));
    let keys = keys.filter(fits).map(|key| Reply::Bulk(key.into())).collect();
    Ok(Reply::Array(vec![Reply::bulk(next.to_string()), Reply::Array(keys)]))
}

/// A cursor as a client sends it back.
pub(super) fn cursor_of(text: &[u8]) -> Result<u64, Reply> {
    let cursor = std::str::from_utf8(text).ok().and_then(|text| text.parse::<u64>().ok());
    cursor.ok_or_else(|| Reply::error("ERR invalid cursor"))
}

/// `RANDOMKEY`: the first key of this database from a random place on.
pub(super) async fn random_key(client: &Client, session: &Session) -> Replied {
    let prefix = database_prefix(client.database);
    let places = session.scan(&prefix, 0, 0).await.map_err(failed)?.value.slots;
    let begin = uuid::Uuid::new_v4().as_u128() as u64 % places.max(1);
    let (mut cursor, mut is_around) = (begin, false);
    loop {
        let Scanned { keys, next, .. } =
            session.scan(&prefix, cursor, PAGE_KEYS).await.map_err(failed)?.value;
        if let Some(key) = keys.iter().find_map(|(name, _)| key_of(client.database, name.as_str())) {
            return Ok(Reply::Bulk(key.into()));
        }
        if is_around && (next == 0 || next > begin) {
            return Ok(Reply::Null);
        }
        is_around |= next == 0;
        cursor = next;
    }
}

/// `DBSIZE`.
pub(super) async fn db_size(client: &Client, session: &Session) -> Replied {
    let prefixes = [database_prefix(client.database), other_databases()];
    let counts = session.count(&prefixes).await.map_err(failed)?.value;
    let count = if client.database == 0 { counts[0].saturating_sub(counts[1]) } else { counts[0] };
    Ok(Reply::Integer(i64::try_from(count).unwrap_or(i64::MAX)))
}

/// `FLUSHDB` and `FLUSHALL`.
pub(super) async fn flush(
    client: &Client,
    session: &Session,
    database: Option<u8>,
    arguments: &[Bytes],
) -> Replied {
    match arguments {
        [] => {}
        [mode] if mode.eq_ignore_ascii_case(b"async") || mode.eq_ignore_ascii_case(b"sync") => {}
        _ => return Err(syntax()),
    }
    let prefix = match database {
        None => None,
        Some(0) => {
            let others = session.count(&[other_databases()]).await.map_err(failed)?.value[0];
            if others > 0 {
                return flush_first(client, session).await;
            }
            None
        }
        Some(database) => Some(database_prefix(database)),
    };
    let written = session.write(Command::Clear { prefix }).await.map_err(failed)?;
    match written.outcome {
        Outcome::Cleared { .. } => Ok(Reply::OK),
        _ => Err(Reply::error("ERR the outcome is of another kind than the command")),
    }
}

/// Removes the keys of database 0 where others have keys, too: several log entries.
async fn flush_first(client: &Client, session: &Session) -> Replied {
    let mut cursor = 0;
    loop {
        let Scanned { keys, next, .. } = session.scan("", cursor, PAGE_KEYS).await.map_err(failed)?.value;
        let of_first = keys.into_iter().filter(|(name, _)| !name.as_str().starts_with(&other_databases()));
        let delete = |(key, _)| Op::Delete { key, condition: Condition::Always, previous: false };
        let ops: Vec<Op> = of_first.map(delete).collect();
        if !ops.is_empty() {
            let plans = [Plan { ops, shape: Shape::Removed }];
            let mut run = Run::new(session.clone(), &client.shared.front.answer_memory, &plans, false);
            while let Some(part) = run.next().await {
                if let Some(failed @ Reply::Error(_)) = part.replies.into_iter().next() {
                    return Err(failed);
                }
            }
        }
        if next == 0 {
            return Ok(Reply::OK);
        }
        cursor = next;
    }
}
