//! The keys of a database that match a pattern, as they were at one moment, and whether they still are.
//!
//! Many keys are read in pages, and the cache changes between those. So what was changed until the last page is added from the order of
//! the log: after that it is what there was when the last page was read.

use super::errors::failed;
use super::glob::Pattern;
use super::key::{key_of, name_of, name_prefix_of};
use super::reply::Reply;
use crate::cache::limits::GUARDED_KEYS_MAX;
use crate::cache::{Event, Guard, Key, Kind};
use crate::node::{ListKeys, ReadAt, Session};
use std::collections::{BTreeMap, BTreeSet};

/// Keys that are read at a time.
const PAGE_KEYS: usize = 10_000;
/// Keys that are told at most, and bytes of them.
const KEYS_MAX: usize = 1_000_000;
pub(super) const KEYS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How often it is read while more changes than the node remembers.
const TRIES: usize = 3;

/// Keys of a database, with the kinds of their values.
pub(super) type Keys = BTreeMap<Vec<u8>, Kind>;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Listing {
    /// Those that match.
    pub keys: Keys,
    /// After which log entry they were these.
    pub index: u64,
    database: u8,
    pattern: Pattern,
    /// What the names of all that can match begin with.
    prefix: String,
    /// The names of all keys that begin so; `None` if there are more than a log entry may look at.
    names: Option<BTreeSet<Key>>,
}

impl Listing {
    /// Reads them.
    pub async fn read(database: u8, session: &Session, pattern: &Pattern) -> Result<Self, Reply> {
        for _ in 0..TRIES {
            if let Some(listing) = Self::try_read(database, session, pattern).await? {
                return Ok(listing);
            }
        }
        Err(Reply::error("UNAVAILABLE nothing was done: too much changes meanwhile: use SCAN"))
    }

    /// `None`: what was changed between the pages is not known any more.
    async fn try_read(database: u8, session: &Session, pattern: &Pattern) -> Result<Option<Self>, Reply> {
        let prefix = name_prefix_of(database, &pattern.literal_prefix());
        let (keys, names, pattern) = (Keys::new(), Some(BTreeSet::new()), pattern.clone());
        let mut listing = Self { keys, index: 0, database, pattern, prefix, names };
        let (mut after, mut first, mut bytes) = (None, None, 0);
        loop {
            let request = ListKeys {
                prefix: listing.prefix.clone(),
                after: after.take(),
                limit: PAGE_KEYS,
                ..ListKeys::default()
            };
            let ReadAt { value: page, index, .. } = session.list(request).await.map_err(failed)?;
            let first = *first.get_or_insert(index);
            after = page.keys.last().filter(|_| page.more).map(|last| last.key.as_str().to_owned());
            for listed in page.keys {
                bytes += listing.add(listed.key, listed.info.kind);
            }
            if listing.keys.len() > KEYS_MAX || bytes > KEYS_BYTES_MAX {
                return Err(Reply::error("ERR there are too many keys: use SCAN"));
            }
            if after.is_none() {
                listing.index = first;
                return Ok(listing.follow(session, index).await?.then_some(listing));
            }
        }
    }

    /// Adds what was changed until after this log entry. False if that is not known any more.
    ///
    /// # Errors
    /// As replies have them.
    pub async fn follow(&mut self, session: &Session, until: u64) -> Result<bool, Reply> {
        let since = self.index;
        if since >= until {
            return Ok(true);
        }
        self.index = until;
        let events = session.events_between(since, until, self.prefix.clone()).await.map_err(failed)?;
        let Some(events) = events else { return Ok(false) };
        for event in events.iter().flat_map(|(_, events)| events) {
            match event {
                Event::Put { record, .. } => drop(self.add(record.to_key(), record.kind())),
                Event::Removed { key, .. } => self.remove(key),
                Event::Cleared { prefix, .. } => self.clear(prefix.as_deref().unwrap_or_default()),
                _ => {}
            }
        }
        Ok(true)
    }

    /// A key is there. The bytes that this takes.
    fn add(&mut self, name: Key, kind: Kind) -> usize {
        let key = key_of(self.database, name.as_str()).filter(|key| self.pattern.matches(key));
        if let Some(names) = &mut self.names {
            names.insert(name);
            if names.len() as u64 > GUARDED_KEYS_MAX {
                self.names = None;
            }
        }
        let Some(key) = key else { return 0 };
        let bytes = key.len();
        self.keys.insert(key, kind);
        bytes
    }

    fn remove(&mut self, name: &Key) {
        if let Some(names) = &mut self.names {
            names.remove(name);
        }
        if let Some(key) = key_of(self.database, name.as_str()) {
            self.keys.remove(&key);
        }
    }

    fn clear(&mut self, prefix: &str) {
        if let Some(names) = &mut self.names {
            names.retain(|name| !name.as_str().starts_with(prefix));
        }
        let database = self.database;
        let is_left =
            |key: &[u8]| name_of(database, key).is_ok_and(|name| !name.as_str().starts_with(prefix));
        self.keys.retain(|key, _| is_left(key));
    }

    /// What holds as long as no key has come or gone.
    ///
    /// # Errors
    /// They are too many for a log entry to look at.
    pub fn guard(&self) -> Result<Guard, Reply> {
        match &self.names {
            Some(names) => {
                Ok(Guard::Keys { prefix: self.prefix.clone(), since: self.index, count: names.len() as u64 })
            }
            None => Err(Reply::error(format!(
                "ERR nothing was done: what writes by what KEYS has told can list {GUARDED_KEYS_MAX} keys, with those that only begin like them: use SCAN"
            ))),
        }
    }

    /// The names of some keys that match, from this one on: whoever reads one of them reads the others next.
    pub fn from(&self, name: &Key, count: usize) -> Vec<Key> {
        let key = key_of(self.database, name.as_str()).filter(|key| self.keys.contains_key(key));
        let Some(key) = key else { return Vec::new() };
        let next = self.keys.range(key..).take(count);
        next.filter_map(|(key, _)| name_of(self.database, key).ok()).collect()
    }
}
