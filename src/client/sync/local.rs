//! The caches of this process, and what was changed in them.

use super::decide::ChangeKind;
use super::hash::hash_of;
use super::journal::Step;
use super::options::MissingKeys;
use super::record::{Intent, KeyRecord, Moment};
use super::state::{Core, Shared, intent_hash};
use super::storage::locked;
use super::types::{LocalCache, SyncError, SyncValue};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex};
use tokio::time::Instant;

/// The caches, and what they hold.
#[derive(Default)]
pub(super) struct LocalCaches {
    all: Mutex<Vec<Arc<dyn LocalCache>>>,
    /// Keys that a cache was seen to have, where it means something that it has one no more.
    seen: Mutex<HashSet<String>>,
}

/// A local change, before it has a number.
#[derive(Default)]
pub(super) struct NewChange {
    pub(super) value: Option<SyncValue>,
    pub(super) by: i64,
    pub(super) at_ms: Option<i64>,
    pub(super) ttl_ms: Option<u64>,
    /// As [`Intent::made`].
    pub(super) made: Vec<String>,
}

/// How a value is put into the caches.
#[derive(Default)]
pub(super) struct How<'a> {
    /// Also into those that lack the key.
    pub(super) everywhere: bool,
    /// Also over a change that nobody noted.
    pub(super) force: bool,
    /// The hash of one more value that is no such change.
    pub(super) also: Option<&'a str>,
}

impl LocalCaches {
    /// False if it is registered already.
    pub(super) fn add(&self, cache: Arc<dyn LocalCache>) -> bool {
        let mut all = locked(&self.all);
        let is_new = !all.iter().any(|other| Arc::ptr_eq(other, &cache));
        if is_new {
            all.push(cache);
        }
        is_new
    }

    fn all(&self) -> Vec<Arc<dyn LocalCache>> {
        locked(&self.all).clone()
    }

    /// What the first cache has that has the key.
    pub(super) async fn current(&self, key: &str) -> Result<Option<SyncValue>, SyncError> {
        for cache in self.all() {
            if let Some(value) = cache.get(key).await? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// The keys that the caches hold.
    pub(super) async fn held(&self) -> Result<BTreeSet<String>, SyncError> {
        let mut keys = BTreeSet::new();
        for cache in self.all() {
            keys.extend(cache.keys().await?);
        }
        Ok(keys)
    }
}

impl Shared {
    /// # Errors
    /// [`SyncError::PendingFull`]. Changes that caches made by themselves are there already, and have no limit.
    pub(super) fn check_room(&self, core: &Core, key: &str) -> Result<(), SyncError> {
        let most = self.options.max_pending;
        let is_new = !core.record(key).is_some_and(KeyRecord::is_dirty);
        // Counting takes a while, and is needed only where there are so many keys at all.
        if is_new && core.journal.keys.len() >= most {
            let pending = core.pending();
            if pending >= most {
                return Err(SyncError::PendingFull(pending));
            }
        }
        Ok(())
    }

    /// Notes a local change; ends when it survives a crash.
    ///
    /// # Errors
    /// [`SyncError`]: the change is not accepted, and not sent.
    pub(super) async fn note(
        &self,
        core: &mut Core,
        key: &str,
        kind: ChangeKind,
        change: NewChange,
    ) -> Result<(), SyncError> {
        if !self.groups.sends(key) {
            return Err(SyncError::NotSynchronized(key.to_owned()));
        }
        let before = core.record(key).cloned();
        let NewChange { value, by, at_ms, ttl_ms, made } = change;
        let offset_ms = self.offset_ms(core);
        let (seq, made_at) = (core.journal.seq + 1, Moment(Some(Instant::now())));
        let next = Intent { seq, kind, value, by, at_ms, offset_ms, ttl_ms, made, made_at };
        let next = merged(before.as_ref(), next).ok_or_else(|| SyncError::NotANumber(key.to_owned()))?;
        core.journal.next_seq();
        let record = core.journal.record(key);
        record.intent = Some(next);
        record.hint = None;
        if let Err(error) = core.journal.write_key(key).await {
            // It was not accepted, so it must not be sent either.
            match before {
                Some(before) => core.journal.keys.insert(key.to_owned(), before),
                None => core.journal.keys.remove(key),
            };
            return Err(error.into());
        }
        core.stir(key);
        Ok(())
    }

    /// Notes a value that a cache has, if it is a change that nobody noted.
    ///
    /// # Errors
    /// [`SyncError`]: it is not accepted, and not sent.
    pub(super) async fn note_found(
        &self,
        core: &mut Core,
        key: &str,
        value: &SyncValue,
    ) -> Result<(), SyncError> {
        if is_known(core, key, &hash_of(value)) {
            return Ok(());
        }
        let is_dated = core.record(key).is_some_and(|record| record.base.is_some());
        let at_ms = is_dated.then(|| self.wall_ms());
        let change = NewChange { value: Some(value.clone()), at_ms, ..NewChange::default() };
        self.note(core, key, ChangeKind::Set, change).await
    }

    /// Looks for changes that nobody noted: values whose hash differs from what was last agreed upon. Answers the first failure of a
    /// cache; what it concerns is looked for again the next time.
    ///
    /// # Errors
    /// [`SyncError`]: the journal.
    pub(super) async fn scan(&self, core: &mut Core) -> Result<Option<SyncError>, SyncError> {
        let mut changes: BTreeMap<String, Intent> = BTreeMap::new();
        let mut present = HashSet::new();
        let mut failed: Option<SyncError> = None;
        let mut is_whole = true;
        for cache in self.caches.all() {
            let keys = cache.keys().await.unwrap_or_else(|error| {
                failed.get_or_insert(error.into());
                is_whole = false;
                Vec::new()
            });
            for key in keys {
                if !self.groups.sends(&key) {
                    continue;
                }
                if self.is_absence_told(&key) {
                    present.insert(key.clone());
                }
                let value = cache.get(&key).await.unwrap_or_else(|error| {
                    failed.get_or_insert(error.into());
                    None
                });
                let Some(value) = value else { continue };
                if is_known(core, &key, &hash_of(&value)) || changes.contains_key(&key) {
                    continue;
                }
                // A value that was never agreed upon may be old.
                let is_dated = core.record(&key).is_some_and(|record| record.base.is_some());
                let at_ms = is_dated.then(|| self.wall_ms());
                let change = self.found_change(core, ChangeKind::Set, Some(value), at_ms);
                changes.insert(key, change);
            }
        }
        // Of a cache that did not tell its keys it is not known which ones are gone.
        if !is_whole {
            present.extend(locked(&self.caches.seen).iter().cloned());
        }
        let seen = std::mem::replace(&mut *locked(&self.caches.seen), present.clone());
        for key in seen.difference(&present) {
            let Some(record) = core.record(key).filter(|record| !record.is_dirty()) else { continue };
            if record.base.as_ref().is_some_and(|base| base.hash.is_some()) {
                let change = self.found_change(core, ChangeKind::Delete, None, Some(self.wall_ms()));
                changes.insert(key.clone(), change);
            }
        }
        let keys: BTreeSet<String> = changes.keys().cloned().collect();
        for (key, intent) in changes {
            core.stir(&key);
            let record = core.journal.record(&key);
            record.intent = Some(intent);
            record.hint = None;
        }
        core.journal.write(&keys, Step::default()).await?;
        Ok(failed)
    }

    fn found_change(
        &self,
        core: &mut Core,
        kind: ChangeKind,
        value: Option<SyncValue>,
        at_ms: Option<i64>,
    ) -> Intent {
        let (seq, offset_ms) = (core.journal.next_seq(), self.offset_ms(core));
        let made_at = Moment(Some(Instant::now()));
        Intent { seq, kind, value, by: 0, at_ms, offset_ms, ttl_ms: None, made: Vec::new(), made_at }
    }

    fn is_absence_told(&self, key: &str) -> bool {
        let rules = self.groups.of(key);
        rules.is_some_and(|rules| rules.missing_keys == MissingKeys::Delete) && self.groups.sends(key)
    }

    /// Puts a value into the caches, or removes it. Where a cache has a change of its own that nobody noted, that becomes a local
    /// change, and nothing is put over it. Answers whether everything was done.
    pub(super) async fn put(
        &self,
        core: &mut Core,
        key: &str,
        value: Option<&SyncValue>,
        how: How<'_>,
    ) -> Result<bool, SyncError> {
        let hash = value.map(hash_of);
        let mut open = Vec::new();
        let mut is_held = false;
        for cache in self.caches.all() {
            let Some(current) = cache.get(key).await? else {
                if value.is_some() && how.everywhere {
                    is_held = true;
                    open.push(cache);
                }
                continue;
            };
            is_held |= value.is_some();
            let its = hash_of(&current);
            if hash.as_ref() == Some(&its) {
                continue;
            }
            let is_change = !how.force && how.also != Some(its.as_str()) && !is_known(core, key, &its);
            if is_change && self.groups.sends(key) {
                let is_dated = core.record(key).is_some_and(|record| record.base.is_some());
                let at_ms = is_dated.then(|| self.wall_ms());
                let change = NewChange { value: Some(current), at_ms, ..NewChange::default() };
                self.note(core, key, ChangeKind::Set, change).await?;
                return Ok(false);
            }
            open.push(cache);
        }
        for cache in open {
            match value {
                Some(value) => cache.set(key, value.clone()).await?,
                None => cache.delete(key).await?,
            }
        }
        if self.is_absence_told(key) {
            let mut seen = locked(&self.caches.seen);
            match is_held {
                true => seen.insert(key.to_owned()),
                false => seen.remove(key),
            };
        }
        Ok(true)
    }
}

/// Whether a value in a cache is no change of its own: agreed upon, noted, hinted at, or about to be taken over.
fn is_known(core: &Core, key: &str, hash: &str) -> bool {
    let Some(record) = core.record(key) else { return false };
    let is_it = |other: Option<&String>| other.is_some_and(|other| other == hash);
    // What an addition makes of the value here is no change beside it.
    let makes_it = |intent: &Intent| match intent.kind {
        ChangeKind::Add => intent.made.is_empty() || intent.made.iter().any(|made| made == hash),
        _ => is_it(intent_hash(intent).as_ref()),
    };
    is_it(record.base.as_ref().and_then(|base| base.hash.as_ref()))
        || is_it(record.hint.as_ref().and_then(Option::as_ref))
        || is_it(core.noted(key).and_then(|remote| remote.hash.as_ref()))
        || record.intent.as_ref().is_some_and(makes_it)
        || record.in_flight.as_ref().is_some_and(|sent| makes_it(&sent.intent))
}

/// An addition on top of a change that waits changes that one; `None` if that makes no number.
fn merged(before: Option<&KeyRecord>, next: Intent) -> Option<Intent> {
    let sent = before.and_then(|record| record.in_flight.as_ref()).map(|sent| &sent.intent);
    let waiting = before.and_then(|record| record.intent.as_ref());
    if next.kind != ChangeKind::Add {
        return Some(next);
    }
    let added = match waiting {
        None => next,
        Some(waiting) => added(waiting, next)?,
    };
    // If that one is refused, both become one change.
    match sent {
        Some(sent) if added.kind == ChangeKind::Add => self::added(sent, added.clone()).map(|_| added),
        _ => Some(added),
    }
}

/// What an addition makes of an earlier change that was not carried out; `None` if that is no number.
pub(super) fn added(earlier: &Intent, next: Intent) -> Option<Intent> {
    let number = |sum: i64, content_type: Option<String>| {
        let value = Some(SyncValue::of_number(sum, content_type));
        Intent { kind: ChangeKind::Set, value, by: 0, made: Vec::new(), ..next.clone() }
    };
    match earlier.kind {
        ChangeKind::Add => Some(Intent { by: earlier.by.checked_add(next.by)?, ..next }),
        ChangeKind::Delete => Some(number(next.by, None)),
        ChangeKind::Set => {
            let value = earlier.value.as_ref()?;
            let sum = value.number()?.checked_add(next.by)?;
            // The value keeps the TTL that it was set with.
            let ttl_ms = earlier.ttl_ms;
            let dated = if ttl_ms.is_some() { earlier } else { &next };
            let (at_ms, offset_ms, made_at) = (dated.at_ms, dated.offset_ms, dated.made_at);
            Some(Intent { ttl_ms, at_ms, offset_ms, made_at, ..number(sum, value.content_type.clone()) })
        }
    }
}
