//! Takes over what others have changed.

use super::cluster::{FoundKey, KeyChange, KeyState, Place};
use super::journal::Step;
use super::local::How;
use super::options::{Direction, Mode, OnEvict, Rules};
use super::record::{Base, KeyRecord};
use super::state::{Core, Remote, Shared, in_history};
use super::turn::Turn;
use super::types::{ChangeCause, ChangeOrigin, SyncChange, SyncError, SyncValue};
use crate::api::WireEvent;
use crate::cache::{Removal, RemovalCause};
use crate::client::ClientError;
use std::collections::BTreeSet;

/// Keys in a page of entries, and of changes.
const ENTRIES_LIMIT: usize = 10_000;
const CHANGES_LIMIT: usize = 1_000;
/// Cached keys that are read at a time.
const CACHED_LIMIT: usize = 1_000;
/// How many keys that are gone are remembered as agreed upon.
const ABSENT_MAX: usize = 65_536;

impl Shared {
    /// Reads everything. Of what is gone, the caches drop it. If a cache fails that is left in `failed`; the other keys go on, and
    /// everything stays wanted.
    pub(super) async fn walk(&self, failed: &mut Option<SyncError>) -> Result<(), SyncError> {
        let wanted = self.walks_wanted();
        let mut seen = BTreeSet::new();
        let mut first: Option<Place> = None;
        for prefix in self.groups.prefixes.iter().filter(|prefix| self.is_mirrored(prefix)) {
            let mut after: Option<String> = None;
            loop {
                let page = self.ask(self.cluster.page(prefix, after.as_deref(), ENTRIES_LIMIT)).await?;
                let mut core = self.core.lock().await;
                in_history(&core, &page.place)?;
                first.get_or_insert(page.place);
                let mut turn = Turn::default();
                for (key, state) in page.keys {
                    let remote = Remote::new(state);
                    let done = self.take(&mut core, &key, remote, ChangeCause::Set, true, &mut turn).await;
                    turn.mind(done);
                    seen.insert(key);
                }
                turn.end_minding(&mut core, failed).await?;
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        let place = match first {
            Some(place) => place,
            None => self.ask(self.cluster.page(&self.groups.prefixes[0], None, 1)).await?.place,
        };
        self.walk_cached(&mut seen, failed).await?;
        let mut core = self.core.lock().await;
        in_history(&core, &place)?;
        self.drop_missing(&mut core, &seen, place.index, failed).await?;
        if failed.is_some() {
            return Ok(());
        }
        core.walks_done = wanted;
        core.journal.meta.place = Some(place);
        // What changed since then is read next; the stream may have begun later.
        core.gaps += 1;
        Ok(core.journal.write(&BTreeSet::new(), Step { meta: true, ..Step::default() }).await?)
    }

    fn is_mirrored(&self, prefix: &str) -> bool {
        let covers = |rules: &Rules| rules.prefixes.iter().any(|own| own.starts_with(prefix));
        self.groups.all.iter().any(|rules| rules.mirrors() && covers(rules))
    }

    fn is_cached(&self, key: &str) -> bool {
        self.groups.of(key).is_some_and(|rules| rules.mode == Mode::Cached)
    }

    /// Of groups that mirror nothing: the keys that are held here, and those that were: what is agreed upon of them has to stay true.
    async fn walk_cached(
        &self,
        seen: &mut BTreeSet<String>,
        failed: &mut Option<SyncError>,
    ) -> Result<(), SyncError> {
        if !self.groups.all.iter().any(|rules| rules.mode == Mode::Cached) {
            return Ok(());
        }
        let held = self.caches.held().await?;
        let core = self.core.lock().await;
        let is_agreed = |record: &KeyRecord| record.base.as_ref().is_some_and(|base| base.revision.is_some());
        let agreed = core.journal.keys.iter().filter(|(_, record)| is_agreed(record));
        let known = held.into_iter().chain(agreed.map(|(key, _)| key.clone()));
        let keys: BTreeSet<String> = known.filter(|key| self.is_cached(key) && !seen.contains(key)).collect();
        drop(core);
        let keys: Vec<String> = keys.into_iter().collect();
        for part in keys.chunks(CACHED_LIMIT) {
            let (states, mut core) = self.read_keys(part).await?;
            let mut turn = Turn::default();
            for (key, state) in part.iter().zip(states) {
                let is_agreed = core.record(key).is_some_and(|record| record.base.is_some());
                let remote = Remote::new(state);
                if remote.found().is_some() || is_agreed {
                    let cause = cause_of(&remote);
                    let done = self.take(&mut core, key, remote, cause, true, &mut turn).await;
                    turn.mind(done);
                }
            }
            turn.end_minding(&mut core, failed).await?;
        }
        seen.extend(keys);
        Ok(())
    }

    /// What was agreed to be there, and was not found at this index, is gone, unless nobody looked for it. Of keys with a local change
    /// it matters how they went, so they are asked for.
    async fn drop_missing(
        &self,
        core: &mut Core,
        seen: &BTreeSet<String>,
        index: u64,
        failed: &mut Option<SyncError>,
    ) -> Result<(), SyncError> {
        let is_there = |base: &Base| base.revision.is_some() && base.at < index;
        let is_open = |record: &KeyRecord| record.is_dirty() || record.base.as_ref().is_some_and(is_there);
        let records = core.journal.keys.iter().filter(|(key, _)| !seen.contains(*key));
        let missing = records.filter(|(_, record)| is_open(record)).map(|(key, _)| key.clone());
        let mut turn = Turn::default();
        for key in missing.collect::<Vec<_>>() {
            if core.record(&key).is_some_and(KeyRecord::is_dirty) {
                if let Some(notes) = core.notes.get_mut(&key) {
                    notes.remote.take_if(|remote| remote.known_at() < index);
                }
                core.unsure.insert(key);
            } else if !self.is_cached(&key) {
                let remote = Remote::absent(index);
                let done = self.take(core, &key, remote, ChangeCause::Delete, false, &mut turn).await;
                turn.mind(done);
            }
        }
        turn.end_minding(core, failed).await
    }

    /// Reads what has changed since the place. False if that is not kept any more. If a cache fails that is left in `failed`; the
    /// other keys go on, and the place stays where it is.
    ///
    /// # Errors
    /// [`SyncError`]: with the code `other_history`, if the cluster is in another one.
    pub(super) async fn read_changes(&self, failed: &mut Option<SyncError>) -> Result<bool, SyncError> {
        let core = self.core.lock().await;
        let Some(place) = core.journal.meta.place.clone() else { return Ok(false) };
        let gaps = core.gaps;
        drop(core);
        let (mut end, mut refused) = (u64::MAX, None);
        for prefix in &self.groups.prefixes {
            let mut since = place.clone();
            loop {
                let page = self.ask(self.cluster.changes(&since, prefix, CHANGES_LIMIT)).await?;
                if !page.complete {
                    return Ok(false);
                }
                let mut core = self.core.lock().await;
                in_history(&core, &since)?;
                let mut turn = Turn::default();
                for change in page.changes {
                    let done = match change {
                        KeyChange::Cleared(prefix, gone) => {
                            self.take_clear(&mut core, &prefix, gone, &mut turn).await
                        }
                        KeyChange::Key(key, state) => {
                            let remote = Remote::new(state);
                            let cause = cause_of(&remote);
                            self.take(&mut core, &key, remote, cause, false, &mut turn).await
                        }
                    };
                    turn.mind(done);
                }
                turn.end_minding(&mut core, &mut refused).await?;
                let goes_on = page.more && page.next > since.index;
                since.index = page.next;
                if !goes_on {
                    break;
                }
            }
            end = end.min(since.index);
        }
        let mut core = self.core.lock().await;
        in_history(&core, &place)?;
        core.heard_of = core.heard_of.max(end);
        if refused.is_some() {
            // It has to be read again.
            core.gaps += 1;
            *failed = failed.take().or(refused);
            return Ok(true);
        }
        core.gaps_healed = gaps;
        self.advance(&mut core, end, &BTreeSet::new()).await?;
        Ok(true)
    }

    /// Asks the cluster about keys with a local change of which it is not known what the cluster has.
    pub(super) async fn ask_again(&self, failed: &mut Option<SyncError>) -> Result<(), SyncError> {
        let keys: Vec<String> = self.core.lock().await.unsure.iter().cloned().collect();
        if keys.is_empty() {
            return Ok(());
        }
        let (states, mut core) = self.read_keys(&keys).await?;
        let mut turn = Turn::default();
        for (key, state) in keys.into_iter().zip(states) {
            let remote = Remote::new(state);
            let cause = cause_of(&remote);
            let done = self.take(&mut core, &key, remote, cause, false, &mut turn).await;
            if done.is_ok() {
                core.unsure.remove(&key);
            }
            turn.mind(done);
        }
        turn.end_minding(&mut core, failed).await?;
        Ok(())
    }

    /// Asks the cluster about keys that a hint has changed here.
    pub(super) async fn confirm_hints(&self, failed: &mut Option<SyncError>) -> Result<(), SyncError> {
        let core = self.core.lock().await;
        let hinted = core.journal.keys.iter().filter(|(_, record)| record.hint.is_some());
        let keys: Vec<String> = hinted.map(|(key, _)| key.clone()).collect();
        drop(core);
        if keys.is_empty() {
            return Ok(());
        }
        let (states, mut core) = self.read_keys(&keys).await?;
        let mut turn = Turn::default();
        for (key, state) in keys.into_iter().zip(states) {
            let remote = Remote::new(state);
            let record = core.record(&key);
            let is_open = record.is_some_and(|record| record.hint.is_some() && !record.is_dirty());
            let is_newer = record
                .and_then(|record| record.base.as_ref())
                .is_some_and(|base| base.at > remote.known_at());
            if is_open && !is_newer {
                let cause = cause_of(&remote);
                let done = self.settle(&mut core, &key, remote, cause, &mut turn).await.map(drop);
                turn.mind(done);
            }
        }
        turn.end_minding(&mut core, failed).await
    }

    /// Applies the events of one log entry, as the stream tells them.
    pub(super) async fn hear(
        &self,
        core: &mut Core,
        (index, at_ms): (u64, u64),
        origin: Option<&str>,
        events: Vec<WireEvent>,
    ) -> Result<(), SyncError> {
        let mut turn = Turn::default();
        for event in events {
            let done = self.hear_event(core, (index, at_ms), origin, event, &mut turn).await;
            core.gaps += u64::from(done.is_err());
            turn.mind(done);
        }
        let Turn { touched, failed } = turn;
        self.advance(core, index, &touched).await?;
        failed.map_or(Ok(()), Err)
    }

    /// The stream is at this index.
    pub(super) async fn advance(
        &self,
        core: &mut Core,
        index: u64,
        touched: &BTreeSet<String>,
    ) -> Result<(), SyncError> {
        core.heard_of = core.heard_of.max(index);
        let is_whole = !self.needs_walk(core) && core.gaps == core.gaps_healed;
        let place = core.journal.meta.place.as_mut();
        let goes = place.filter(|place| is_whole && place.index < index);
        let meta = goes.map(|place| place.index = index).is_some();
        // A place by itself is not worth a write to disk: the changes since the last one are told again.
        let step = Step { meta: meta && !touched.is_empty(), ..Step::default() };
        Ok(core.journal.write(touched, step).await?)
    }

    async fn hear_event(
        &self,
        core: &mut Core,
        (index, at_ms): (u64, u64),
        origin: Option<&str>,
        event: WireEvent,
        turn: &mut Turn,
    ) -> Result<(), SyncError> {
        let gone = |cause| Removal { cause, revision: index, at_ms };
        let (key, removal) = match event {
            WireEvent::Put { key, value, content_type, version, modified_at_ms, .. } => {
                let value = value.and_then(|value| SyncValue::of_wire(value, content_type));
                let unread = || ClientError::Garbled {
                    url: "the stream of changes".into(),
                    reason: format!("the value of {key} is not there or no base64"),
                };
                let found = FoundKey {
                    revision: index,
                    version: version.into(),
                    modified_at_ms: i64::try_from(modified_at_ms).unwrap_or(i64::MAX),
                    origin: origin.map(str::to_owned),
                    value: Some(value.ok_or_else(unread)?),
                };
                let remote = Remote::new(KeyState::Found(found));
                return self.take(core, &key, remote, ChangeCause::Set, false, turn).await;
            }
            WireEvent::Lifetime { key, .. } => {
                take_lifetime(core, &key, index, at_ms, turn);
                return Ok(());
            }
            WireEvent::Clear { prefix, .. } => {
                let prefix = prefix.unwrap_or_default();
                return self.take_clear(core, &prefix, gone(RemovalCause::Clear), turn).await;
            }
            WireEvent::Delete { key } => (key, gone(RemovalCause::Delete)),
            WireEvent::Expire { key } => (key, gone(RemovalCause::Expire)),
            WireEvent::Evict { key } => (key, gone(RemovalCause::Evict)),
            _ => return Ok(()),
        };
        let remote = Remote::new(KeyState::Absent { gone: Some(removal), as_of: index });
        self.take(core, &key, remote, removal.cause.into(), false, turn).await
    }

    async fn take_clear(
        &self,
        core: &mut Core,
        prefix: &str,
        gone: Removal,
        turn: &mut Turn,
    ) -> Result<(), SyncError> {
        let from = core.journal.keys.range(prefix.to_owned()..);
        let inside = from.take_while(|(key, _)| key.starts_with(prefix)).map(|(key, _)| key.clone());
        for key in inside.collect::<Vec<_>>() {
            let is_gone = core.record(&key).is_some_and(|record| {
                !record.is_dirty() && record.base.as_ref().is_some_and(|base| base.revision.is_none())
            });
            if is_gone && core.noted(&key).is_none() {
                continue;
            }
            let remote = Remote::new(KeyState::Absent { gone: Some(gone), as_of: gone.revision });
            self.take(core, &key, remote, ChangeCause::Clear, false, turn).await?;
        }
        Ok(())
    }

    /// Takes over a state of the cluster, unless it is known already. Where there is a local change it is only noted: that is
    /// decided when the change is sent. `fill`: caches that lack the key get it.
    pub(super) async fn take(
        &self,
        core: &mut Core,
        key: &str,
        mut remote: Remote,
        cause: ChangeCause,
        fill: bool,
        turn: &mut Turn,
    ) -> Result<(), SyncError> {
        let Some(rules) = self.groups.of(key) else { return Ok(()) };
        let is_up = rules.direction == Direction::Up;
        let record = core.record(key);
        let base = record.and_then(|record| record.base.as_ref());
        let is_dirty = record.is_some_and(|record| record.is_dirty());
        if base.is_some_and(|base| base.at >= remote.index()) {
            let is_clean = !is_dirty && record.is_some_and(|record| record.hint.is_none());
            let is_same = remote.found().map(|found| found.revision) == base.and_then(|base| base.revision);
            if fill && is_clean && is_same && !is_up && remote.value().is_some() {
                let how = How { everywhere: rules.mirrors(), ..How::default() };
                self.put(core, key, remote.value(), how).await?;
            }
            return Ok(());
        }
        if is_up && !is_dirty {
            if base.is_none() {
                return Ok(());
            }
            // Of what is only sent it is enough to know that it changed.
            if let KeyState::Found(found) = &mut remote.state {
                found.value = None;
            }
        }
        if is_dirty || is_up {
            if core.noted(key).is_none_or(|known| known.index() < remote.index()) {
                core.note(key).remote = Some(remote);
                core.stir(key);
            }
            return Ok(());
        }
        if record.is_none() && rules.mode == Mode::Cached && self.caches.current(key).await?.is_none() {
            return Ok(());
        }
        self.settle(core, key, remote, cause, turn).await.map(drop)
    }

    /// Makes the cluster's state the caches' own, and what is agreed upon. First the caches, then the journal: after a crash between
    /// the two the value is found in both places, and is equal. Answers false if a cache has a change of its own.
    pub(super) async fn settle(
        &self,
        core: &mut Core,
        key: &str,
        remote: Remote,
        cause: ChangeCause,
        turn: &mut Turn,
    ) -> Result<bool, SyncError> {
        let Some(rules) = self.groups.of(key) else { return Ok(true) };
        let before = core.record(key).and_then(|record| record.base.as_ref()?.hash.clone());
        let keeps = cause == ChangeCause::Evict && rules.on_evict == OnEvict::Keep;
        if !keeps && rules.direction != Direction::Up {
            let how = How { everywhere: rules.mirrors(), ..How::default() };
            if !self.put(core, key, remote.value(), how).await? {
                core.note(key).remote = Some(remote);
                return Ok(false);
            }
        }
        let hash = if keeps { before.clone() } else { remote.hash.clone() };
        let base = remote.base(hash.clone(), core.journal.history());
        let revision = base.revision;
        let record = core.journal.record(key);
        record.base = Some(base);
        record.hint = None;
        core.notes.remove(key);
        core.hints.remove(key);
        turn.touched.insert(key.to_owned());
        if revision.is_none() {
            forget_oldest(core, turn);
        }
        if hash != before {
            let (key, value) = (key.to_owned(), remote.value().cloned());
            self.tell(SyncChange::Key { key, cause, origin: ChangeOrigin::Remote, revision, value });
        }
        Ok(true)
    }
}

/// Why the key is as it is.
pub(super) fn cause_of(remote: &Remote) -> ChangeCause {
    match &remote.state {
        KeyState::Found(_) => ChangeCause::Set,
        KeyState::Absent { gone, .. } => gone.map_or(ChangeCause::Delete, |gone| gone.cause.into()),
    }
}

/// The value is the same, at another revision.
fn take_lifetime(core: &mut Core, key: &str, index: u64, at_ms: u64, turn: &mut Turn) {
    let modified_at_ms = i64::try_from(at_ms).unwrap_or(i64::MAX);
    if let Some(remote) = core.notes.get_mut(key).and_then(|notes| notes.remote.as_mut()) {
        if let KeyState::Found(found) = &mut remote.state
            && found.revision < index
        {
            (found.revision, found.modified_at_ms) = (index, modified_at_ms);
        }
        return;
    }
    let base = core.journal.keys.get_mut(key).and_then(|record| record.base.as_mut());
    if let Some(base) = base.filter(|base| base.revision.is_some() && base.at < index) {
        (base.revision, base.at, base.modified_at_ms) = (Some(index), index, modified_at_ms);
        turn.touched.insert(key.to_owned());
    }
}

pub(super) fn forget_if_empty(core: &mut Core, key: &str) {
    if core.record(key).is_some_and(|record| record.is_empty()) {
        core.journal.keys.remove(key);
    }
}

/// Keys that are gone are remembered up to a number.
fn forget_oldest(core: &mut Core, turn: &mut Turn) {
    core.absent += 1;
    if core.absent <= ABSENT_MAX {
        return;
    }
    core.absent = ABSENT_MAX / 2;
    let gone = core.journal.keys.iter().filter_map(|(key, record)| {
        let base = record.base.as_ref().filter(|base| base.revision.is_none() && !record.is_dirty())?;
        Some((base.at, key.clone()))
    });
    let mut gone: Vec<(u64, String)> = gone.collect();
    gone.sort_unstable();
    for (_, key) in gone.iter().take(gone.len().saturating_sub(ABSENT_MAX / 2)) {
        core.journal.keys.remove(key);
        turn.touched.insert(key.clone());
    }
}
