//! Commands about all keys of a database within a transaction.
//!
//! What the log entry of a transaction answers has no room for them. So what the database had shortly before is read, then what others
//! have changed until the entry is added from the order of the log, and then what the transaction itself has done up to the command.
//! Together that is the database at the command's own moment.

use super::errors::failed;
use super::glob::Pattern;
use super::key::{database_prefix, key_of, name_prefix_of, other_databases};
use super::listing::{Keys, Listing};
use super::reply::Reply;
use super::scratch::Own;
use super::walk::{self, ScanFor, any_of};
use crate::cache::{Cause, Event, Kind};
use crate::node::Session;

/// How many of them a transaction may have.
pub(super) const WHOLE_MAX: usize = 16;

/// A command about all keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Whole {
    pub database: u8,
    pub asks: Asks,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asks {
    Keys(Pattern),
    Scan(ScanFor),
    Count,
    Any,
}

/// The moment at which a transaction was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// After this log entry.
    After(u64),
    /// As this log entry, once it had removed what had expired.
    Within(u64),
}

impl Moment {
    pub fn index(self) -> u64 {
        let (Self::After(index) | Self::Within(index)) = self;
        index
    }
}

/// What a command needs, as it was after a log entry.
#[derive(Debug)]
pub(super) struct Known {
    pub index: u64,
    /// Those that the command can tell.
    keys: Keys,
    count: u64,
    /// Where a `SCAN` goes on.
    next: u64,
    /// What was changed cannot be followed.
    is_lost: bool,
}

impl Whole {
    /// Reads what it needs.
    pub async fn read(&self, session: &Session) -> Result<Known, Reply> {
        let database = self.database;
        let known = |index, keys, count, next| Known { index, keys, count, next, is_lost: false };
        Ok(match &self.asks {
            Asks::Keys(pattern) => {
                let Listing { keys, index, .. } = Listing::read(database, session, pattern).await?;
                known(index, keys, 0, 0)
            }
            Asks::Scan(wanted) => {
                let part = wanted.part(database, session).await?;
                known(part.index, part.keys, 0, part.next)
            }
            Asks::Count => {
                let (count, index) = walk::count(database, session).await?;
                known(index, Keys::new(), count, 0)
            }
            Asks::Any => {
                // Before the keys, so that what is there and is not among them is known of.
                let (count, index) = walk::count(database, session).await?;
                let part = walk::random_part(database, session).await?;
                known(index, part.keys, count, 0)
            }
        })
    }

    /// The reply, once a transaction was carried out. `own`: what that had done until the command.
    pub async fn reply(&self, mut known: Known, moment: Moment, own: &[Own], session: &Session) -> Reply {
        // A token may be for no more.
        let prefix = match &self.asks {
            Asks::Keys(pattern) => name_prefix_of(self.database, &pattern.literal_prefix()),
            Asks::Scan(wanted) => wanted.prefix(self.database),
            Asks::Count | Asks::Any => database_prefix(self.database),
        };
        let events = session.events_between(known.index, moment.index(), prefix);
        let events = match events.await {
            Ok(events) => events,
            Err(error) => return Reply::error(format!("{} (the transaction was carried out)", text(error))),
        };
        match events {
            Some(events) => self.follow(&mut known, &events, moment),
            None => known.is_lost = true,
        }
        self.add_own(&mut known, own);
        if known.is_lost {
            return Reply::error(
                "ERR too much was changed meanwhile to tell this; the transaction was carried out",
            );
        }
        self.tell(known)
    }

    /// Adds what others have done.
    fn follow(&self, known: &mut Known, events: &[(u64, Vec<Event>)], moment: Moment) {
        for (index, events) in events {
            let is_expiry = |event: &&Event| matches!(event, Event::Removed { cause: Cause::Expire, .. });
            let count = match moment {
                // The rest is what the transaction did.
                Moment::Within(own) if own == *index => events.iter().take_while(is_expiry).count(),
                _ => events.len(),
            };
            events[..count].iter().for_each(|event| self.follow_one(known, event));
        }
    }

    fn follow_one(&self, known: &mut Known, event: &Event) {
        match event {
            Event::Put { record, created, .. } if self.has(record.key()) => {
                known.count += u64::from(*created);
                if let Some(key) = key_of(self.database, record.key()) {
                    self.put(known, key, record.kind(), *created);
                }
            }
            Event::Removed { key, .. } if self.has(key.as_str()) => {
                known.count = known.count.saturating_sub(1);
                if let Some(key) = key_of(self.database, key.as_str()) {
                    known.keys.remove(&key);
                }
            }
            Event::Cleared { prefix, removed } => {
                let (own, prefix) = (database_prefix(self.database), prefix.as_deref().unwrap_or_default());
                if own.starts_with(prefix) {
                    (known.count, known.keys) = (0, Keys::new());
                } else if prefix.starts_with(&own) && (self.database > 0 || !self.is_of_others(prefix)) {
                    known.count = known.count.saturating_sub(*removed);
                    let is_cleared = |key: &[u8]| {
                        super::key::name_of(self.database, key)
                            .is_ok_and(|name| name.as_str().starts_with(prefix))
                    };
                    known.keys.retain(|key, _| !is_cleared(key));
                    // It may have begun the names of other databases, too.
                    known.is_lost |= self.database == 0 && other_databases().starts_with(prefix);
                }
            }
            _ => {}
        }
    }

    /// Adds what the transaction has done.
    fn add_own(&self, known: &mut Known, own: &[Own]) {
        for Own { key, was_there, now } in own.iter().filter(|own| self.has(own.key.as_str())) {
            known.count = (known.count + u64::from(now.is_some())).saturating_sub(u64::from(*was_there));
            let Some(key) = key_of(self.database, key.as_str()) else { continue };
            match now {
                Some(kind) => self.put(known, key, *kind, !was_there),
                None => drop(known.keys.remove(&key)),
            }
        }
    }

    /// A key has a value. One that is elsewhere in the cache's table is not for this command.
    fn put(&self, known: &mut Known, key: Vec<u8>, kind: Kind, is_new: bool) {
        let is_asked_for = match &self.asks {
            Asks::Keys(pattern) => pattern.matches(&key),
            Asks::Scan(_) | Asks::Any => true,
            Asks::Count => false,
        };
        if is_asked_for && (is_new || known.keys.contains_key(&key)) {
            known.keys.insert(key, kind);
        }
    }

    /// Whether a name is of its database.
    fn has(&self, name: &str) -> bool {
        name.starts_with(&database_prefix(self.database)) && (self.database > 0 || !self.is_of_others(name))
    }

    fn is_of_others(&self, name: &str) -> bool {
        name.starts_with(&other_databases())
    }

    fn tell(&self, known: Known) -> Reply {
        match &self.asks {
            Asks::Keys(_) => {
                Reply::Array(known.keys.into_keys().map(|key| Reply::Bulk(key.into())).collect())
            }
            Asks::Scan(wanted) => wanted.reply(known.keys, known.next),
            Asks::Count => Reply::Integer(i64::try_from(known.count).unwrap_or(i64::MAX)),
            Asks::Any if known.keys.is_empty() && known.count > 0 => {
                Reply::error("ERR all keys that were looked at are gone; the transaction was carried out")
            }
            Asks::Any => any_of(known.keys),
        }
    }
}

/// The keys of a listing, with what was done on top of it.
pub(super) fn with_own(database: u8, pattern: &Pattern, mut keys: Keys, own: &[Own]) -> Keys {
    for own in own {
        let key = key_of(database, own.key.as_str()).filter(|key| pattern.matches(key));
        match (key, own.now) {
            (Some(key), Some(kind)) => drop(keys.insert(key, kind)),
            (Some(key), None) => drop(keys.remove(&key)),
            (None, _) => {}
        }
    }
    keys
}

fn text(error: crate::node::SessionError) -> String {
    match failed(error) {
        Reply::Error(text) => text,
        _ => String::new(),
    }
}
