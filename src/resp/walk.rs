//! Commands about all keys of a database.

use super::arguments::Arguments;
use super::client::Client;
use super::errors::{Replied, failed, syntax};
use super::glob::Pattern;
use super::key::{database_prefix, key_of, name_prefix_of, other_databases};
use super::listing::{Keys, Listing};
use super::plan::name_of_kind;
use super::plan::{Plan, Shape};
use super::random::Random;
use super::reply::Reply;
use super::run::Run;
use crate::cache::{Command, Condition, Key, Kind, Need, Op, Outcome, Role, Scanned};
use crate::node::{ReadAt, Session};
use bytes::Bytes;

/// Keys that are looked at at a time.
const PAGE_KEYS: usize = 10_000;
/// Places that a `SCAN` looks at.
const SCAN_SLOTS_MIN: usize = 100;
const SCAN_SLOTS_MAX: usize = 10_000;

/// `KEYS pattern`.
pub(super) async fn keys(client: &mut Client, session: &Session, pattern: &[u8]) -> Replied {
    let Listing { keys, index, .. } =
        Listing::read(client.database, session, &Pattern::parse(pattern)?).await?;
    client.note_seen(index);
    Ok(Reply::Array(keys.into_keys().map(|key| Reply::Bulk(key.into())).collect()))
}

/// What a `SCAN` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScanFor {
    cursor: u64,
    pattern: Option<Pattern>,
    slots: usize,
    kind: Option<Vec<u8>>,
}

/// What a part of the cache's table has, and where the next part begins.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    pub keys: Keys,
    pub next: u64,
    /// When it had that.
    pub index: u64,
}

/// `SCAN cursor [MATCH pattern] [COUNT n] [TYPE type]`. The cursor is a place in the cache's own table, which is the same on all nodes and
/// after a restart, and a key keeps its place as long as it lives: one that is there during the whole walk is told once.
pub(super) async fn scan(client: &mut Client, session: &Session, arguments: &[Bytes]) -> Replied {
    let wanted = ScanFor::parse(arguments)?;
    let part = wanted.part(client.database, session).await?;
    client.note_seen(part.index);
    Ok(wanted.reply(part.keys, part.next))
}

impl ScanFor {
    pub fn parse(arguments: &[Bytes]) -> Result<Self, Reply> {
        let mut rest = Arguments::new(arguments, 0);
        let cursor = cursor_of(rest.next()?)?;
        let (mut pattern, mut count, mut kind) = (None, 10, None);
        while let Some(option) = rest.option() {
            match option.as_str() {
                "MATCH" => pattern = Some(Pattern::parse(rest.next()?)?),
                "COUNT" => {
                    count = rest.integer()?;
                    if count < 1 {
                        return Err(syntax());
                    }
                }
                "TYPE" => kind = Some(rest.next()?.to_ascii_lowercase()),
                _ => return Err(syntax()),
            }
        }
        let slots = usize::try_from(count).unwrap_or(SCAN_SLOTS_MAX).clamp(SCAN_SLOTS_MIN, SCAN_SLOTS_MAX);
        Ok(Self { cursor, pattern, slots, kind })
    }

    /// What the names of all keys begin with that can match.
    pub fn prefix(&self, database: u8) -> String {
        let prefix = self.pattern.as_ref().map(Pattern::literal_prefix).unwrap_or_default();
        name_prefix_of(database, &prefix)
    }

    /// The keys of the part that it is about: all that can match.
    pub async fn part(&self, database: u8, session: &Session) -> Result<Part, Reply> {
        let read = session.scan(&self.prefix(database), self.cursor, self.slots).await.map_err(failed)?;
        let Scanned { keys, next, .. } = read.value;
        Ok(Part { keys: keys_of(database, &keys), next, index: read.index })
    }

    pub fn reply(&self, keys: Keys, next: u64) -> Reply {
        let is_wanted = |key: &[u8], kind: Kind| {
            self.kind.as_ref().is_none_or(|wanted| *wanted == name_of_kind(kind).as_bytes())
                && self.pattern.as_ref().is_none_or(|pattern| pattern.matches(key))
        };
        let keys = keys.into_iter().filter(|(key, kind)| is_wanted(key, *kind));
        let keys = keys.map(|(key, _)| Reply::Bulk(key.into())).collect();
        Reply::Array(vec![Reply::bulk(next.to_string()), Reply::Array(keys)])
    }
}

/// Those that are of this database, as its clients name them.
fn keys_of(database: u8, found: &[(Key, Kind)]) -> Keys {
    found.iter().filter_map(|(name, kind)| Some((key_of(database, name.as_str())?, *kind))).collect()
}

/// A cursor as a client sends it back.
pub(super) fn cursor_of(text: &[u8]) -> Result<u64, Reply> {
    let cursor = std::str::from_utf8(text).ok().and_then(|text| text.parse::<u64>().ok());
    cursor.ok_or_else(|| Reply::error("ERR invalid cursor"))
}

/// `RANDOMKEY`.
pub(super) async fn random_key(client: &mut Client, session: &Session) -> Replied {
    let Part { keys, index, .. } = random_part(client.database, session).await?;
    client.note_seen(index);
    Ok(any_of(keys))
}

/// One of these keys, by chance.
pub(super) fn any_of(keys: Keys) -> Reply {
    let at = Random::new().below(keys.len().max(1));
    keys.into_keys().nth(at).map_or(Reply::Null, |key| Reply::Bulk(key.into()))
}

/// Keys of a database from a random place on. None if it has none.
pub(super) async fn random_part(database: u8, session: &Session) -> Result<Part, Reply> {
    let prefix = database_prefix(database);
    let read = session.scan(&prefix, 0, SCAN_SLOTS_MIN).await.map_err(failed)?;
    let index = read.index;
    if read.value.next == 0 {
        return Ok(Part { keys: keys_of(database, &read.value.keys), next: 0, index });
    }
    let begin = uuid::Uuid::new_v4().as_u128() as u64 % read.value.slots.max(1);
    let (mut cursor, mut is_around) = (begin, false);
    loop {
        let read = session.scan(&prefix, cursor, PAGE_KEYS).await.map_err(failed)?;
        let Scanned { keys, next, .. } = read.value;
        let keys = keys_of(database, &keys);
        if !keys.is_empty() {
            return Ok(Part { keys, next, index: read.index });
        }
        if is_around && (next == 0 || next > begin) {
            return Ok(Part { keys, next, index });
        }
        is_around |= next == 0;
        cursor = next;
    }
}

/// `DBSIZE`.
pub(super) async fn db_size(client: &mut Client, session: &Session) -> Replied {
    let (count, index) = count(client.database, session).await?;
    client.note_seen(index);
    Ok(Reply::Integer(i64::try_from(count).unwrap_or(i64::MAX)))
}

/// How many keys a database has, and the index of that.
pub(super) async fn count(database: u8, session: &Session) -> Result<(u64, u64), Reply> {
    let prefixes = [database_prefix(database), other_databases()];
    let ReadAt { value: counts, index, .. } = session.count(&prefixes).await.map_err(failed)?;
    let count = if database == 0 { counts[0].saturating_sub(counts[1]) } else { counts[0] };
    Ok((count, index))
}

/// `FLUSHDB` and `FLUSHALL`.
pub(super) async fn flush(
    client: &mut Client,
    session: &Session,
    database: Option<u8>,
    arguments: &[Bytes],
) -> Replied {
    check_flush(arguments)?;
    match clear(client, session, database).await? {
        true => Ok(Reply::OK),
        false => flush_first(client, session).await,
    }
}

/// What is wrong with the arguments of `FLUSHDB` or `FLUSHALL`.
pub(super) fn check_flush(arguments: &[Bytes]) -> Result<(), Reply> {
    match arguments {
        [] => Ok(()),
        [mode] if mode.eq_ignore_ascii_case(b"async") || mode.eq_ignore_ascii_case(b"sync") => Ok(()),
        _ => Err(syntax()),
    }
}

/// The same in one log entry, where that is possible.
pub(super) async fn flush_at_once(client: &mut Client, session: &Session, database: Option<u8>) -> Replied {
    match clear(client, session, database).await? {
        true => Ok(Reply::OK),
        false => Err(Reply::error(
            "EXECABORT nothing was done: database 0 cannot be emptied as one while others have keys; send FLUSHDB outside MULTI, or FLUSHALL",
        )),
    }
}

/// Empties a database, or all, in one log entry. `false`: nothing was done. The keys of database 0 have no beginning in common, so it can be
/// emptied like this only as long as the others have no keys when the entry is applied.
async fn clear(client: &mut Client, session: &Session, database: Option<u8>) -> Result<bool, Reply> {
    let command = match database {
        Some(0) => Command::Clear { prefix: None, unless: Some(other_databases()) },
        database => Command::Clear { prefix: database.map(database_prefix), unless: None },
    };
    let written = session.write(command).await.map_err(failed)?;
    client.note_written(written.index);
    match written.outcome {
        Outcome::Cleared { .. } => Ok(true),
        Outcome::NotCleared { .. } => Ok(false),
        _ => Err(Reply::error("ERR the outcome is of another kind than the command")),
    }
}

/// Removes the keys of database 0: some in each log entry.
async fn flush_first(client: &mut Client, session: &Session) -> Replied {
    // Whoever may not remove all of it is told so, and not that he may not look.
    session.authorize(&Need::Prefix(Role::Write, String::new())).await.map_err(failed)?;
    let mut cursor = 0;
    loop {
        let Scanned { keys, next, .. } = session.scan("", cursor, PAGE_KEYS).await.map_err(failed)?.value;
        let of_first = keys.into_iter().filter(|(name, _)| !name.as_str().starts_with(&other_databases()));
        let delete = |(key, _)| Op::Delete { key, condition: Condition::Always, previous: false };
        let ops: Vec<Op> = of_first.map(delete).collect();
        if !ops.is_empty() {
            let plans = [Plan { ops, shape: Shape::Removed }];
            let shared = client.shared.clone();
            let mut run = Run::new(session.clone(), &shared.front.answer_memory, &plans, false);
            while let Some(part) = run.next().await {
                if let Some(failed @ Reply::Error(_)) = part.replies.into_iter().next() {
                    return Err(failed);
                }
            }
            client.note_written(run.applied().unwrap_or(0));
        }
        if next == 0 {
            return Ok(Reply::OK);
        }
        cursor = next;
    }
}
