//! The keys that changed since an index, with what they have now: for clients that ask from time to time instead of watching.

use super::error::NodeError;
use super::inner::Inner;
use crate::cache::{Cache, Cause, Event, Found, Key, Removal, RemovalCause};
use crate::replica::{ChangeSet, Compacted};
use std::collections::BTreeMap;

/// How many changes are taken from the change log at a time, and of how many bytes.
const PAGE_CHANGES: usize = 256;
const PAGE_BYTES: usize = 256 * 1024;
/// Most changes that are looked at for one answer, wanted or not.
const LOOKED_AT_MAX: usize = 65_536;

/// What changed after an index, in the order of the newest change of each key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedKeys {
    pub changes: Vec<ChangedKey>,
    /// Everything up to this index is told: ask for the rest with it.
    pub next: u64,
    /// Whether there was more at that moment.
    pub more: bool,
    /// False if some changes are no longer kept. Then there are none here.
    pub complete: bool,
}

/// What a key has now, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangedKey {
    Present {
        key: Key,
        found: Found,
        /// Whether the answer has room for its value.
        has_value: bool,
    },
    /// It is absent. Its last removal may be forgotten.
    Absent { key: Key, removal: Option<Removal> },
    /// All keys with the prefix were removed. Some may be there again.
    Cleared { prefix: String, removal: Removal },
}

impl ChangedKey {
    /// Bytes of the key or prefix, and of the value if that is told.
    fn bytes(&self, values: bool) -> u64 {
        let bytes = match self {
            Self::Present { key, found, .. } if values => key.as_str().len() + found.value.bytes.len(),
            Self::Present { key, .. } | Self::Absent { key, .. } => key.as_str().len(),
            Self::Cleared { prefix, .. } => prefix.len(),
        };
        bytes as u64
    }
}

/// How much an answer may have.
#[derive(Debug, Clone, Copy)]
pub struct ChangesLimit {
    /// Once it has so many keys, no other change is added.
    pub keys: usize,
    /// Nor once keys and values have so many bytes. What is left of the last index is told without its values.
    pub bytes: u64,
    /// Whether the values are told.
    pub values: bool,
}

/// The newest change of a key, or a clear.
struct Newest {
    index: u64,
    event: Event,
    at_ms: u64,
}

impl Inner {
    /// What changed after the index `since` among the keys with a prefix.
    pub(super) async fn changed_since(
        &self,
        since: u64,
        prefix: &str,
        limit: ChangesLimit,
    ) -> Result<ChangedKeys, NodeError> {
        let mut newest = Collected::default();
        let (mut next, mut looked_at) = (since, 0);
        let more = loop {
            let page = self.consensus.replica().change_log().after(next, PAGE_CHANGES, PAGE_BYTES);
            let page = match page {
                Ok(page) => page,
                // Changes can leave the change log meanwhile.
                Err(Compacted { .. }) if next > since => break true,
                Err(Compacted { up_to }) => {
                    return Ok(ChangedKeys {
                        changes: Vec::new(),
                        next: up_to,
                        more: false,
                        complete: false,
                    });
                }
            };
            let mut is_full = false;
            for change in &page.changes {
                if newest.len() >= limit.keys {
                    is_full = true;
                    break;
                }
                newest.add(change, prefix);
                next = change.index();
            }
            if is_full {
                break true;
            }
            next = page.next_cursor;
            looked_at += page.changes.len();
            if !page.more {
                break false;
            }
            if looked_at >= LOOKED_AT_MAX {
                break true;
            }
            tokio::task::yield_now().await;
        };
        let found = self.consensus.replica().with_cache(|cache| newest.look_up(cache, limit));
        Ok(match found {
            (changes, None) => ChangedKeys { changes, next, more, complete: true },
            (changes, Some(next)) => ChangedKeys { changes, next, more: true, complete: true },
        })
    }
}

impl Inner {
    /// All changes after the index `since`, up to the index `until`, which this node has reached. `None` if that is too much, or not known
    /// any more.
    pub(super) async fn changes_between(&self, since: u64, until: u64) -> Option<Vec<ChangeSet>> {
        let (mut found, mut next) = (Vec::new(), since);
        while next < until {
            let page = self.consensus.replica().change_log().after(next, PAGE_CHANGES, PAGE_BYTES).ok()?;
            found.extend(page.changes.into_iter().filter(|change| change.index() <= until));
            if found.len() > LOOKED_AT_MAX {
                return None;
            }
            next = page.next_cursor;
            tokio::task::yield_now().await;
        }
        Some(found)
    }
}

/// The newest change of each key, and the clears.
#[derive(Default)]
struct Collected {
    keys: BTreeMap<Key, Newest>,
    clears: Vec<Newest>,
}

impl Collected {
    fn len(&self) -> usize {
        self.keys.len() + self.clears.len()
    }

    fn add(&mut self, change: &ChangeSet, prefix: &str) {
        for event in change.events() {
            let newest = || Newest { index: change.index(), event: event.clone(), at_ms: change.at_ms() };
            let key = match event {
                Event::Put { record, .. } if record.key().starts_with(prefix) => record.to_key(),
                Event::Deadline { key, .. } | Event::Removed { key, .. }
                    if key.as_str().starts_with(prefix) =>
                {
                    key.clone()
                }
                Event::Cleared { prefix: cleared, .. } => {
                    let cleared = cleared.as_deref().unwrap_or_default();
                    if cleared.starts_with(prefix) || prefix.starts_with(cleared) {
                        self.clears.push(newest());
                    }
                    continue;
                }
                _ => continue,
            };
            self.keys.insert(key, newest());
        }
    }

    /// What the keys have now, in the order of the log, until they have so many bytes; then also the index up to which
    /// everything is told. One command can change many keys, so the rest of its index has no values.
    fn look_up(self, cache: &Cache, limit: ChangesLimit) -> (Vec<ChangedKey>, Option<u64>) {
        let keys = self.keys.into_iter().map(|(key, newest)| (Some(key), newest));
        let mut all: Vec<(Option<Key>, Newest)> =
            keys.chain(self.clears.into_iter().map(|clear| (None, clear))).collect();
        all.sort_by_key(|(_, newest)| newest.index);
        let (mut changes, mut bytes, mut told) = (Vec::with_capacity(all.len()), 0, 0);
        for (key, newest) in all {
            // All of one index belong together: `told` is a place to go on from.
            if bytes >= limit.bytes && newest.index > told {
                return (changes, Some(told));
            }
            told = newest.index;
            let change = match key {
                Some(key) => look_up(cache, key, &newest, bytes < limit.bytes),
                None => cleared(&newest),
            };
            bytes += change.bytes(limit.values);
            changes.push(change);
        }
        (changes, None)
    }
}

fn look_up(cache: &Cache, key: Key, newest: &Newest, has_value: bool) -> ChangedKey {
    if let Some(found) = cache.get(key.as_str()) {
        return ChangedKey::Present { key, found, has_value };
    }
    let told = match &newest.event {
        Event::Removed { cause, .. } => Some(removal(newest, *cause)),
        _ => None,
    };
    // It may have been removed again since; and the cache may have forgotten what the log still tells.
    let known = cache.absence(key.as_str()).removal;
    let removal = told.into_iter().chain(known).max_by_key(|removal| removal.revision);
    ChangedKey::Absent { key, removal }
}

fn removal(newest: &Newest, cause: Cause) -> Removal {
    let cause = match cause {
        Cause::Delete => RemovalCause::Delete,
        Cause::Expire => RemovalCause::Expire,
        Cause::Evict => RemovalCause::Evict,
    };
    Removal { cause, revision: newest.index, at_ms: newest.at_ms }
}

fn cleared(newest: &Newest) -> ChangedKey {
    let prefix = match &newest.event {
        Event::Cleared { prefix, .. } => prefix.clone().unwrap_or_default(),
        _ => String::new(),
    };
    let removal = Removal { cause: RemovalCause::Clear, revision: newest.index, at_ms: newest.at_ms };
    ChangedKey::Cleared { prefix, removal }
}
