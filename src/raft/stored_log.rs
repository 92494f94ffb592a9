//! The log of a folder on which no node runs, or of a backup: where it comes from, and what it comes to.

use super::codec::decode_entry;
use super::log::stored_vote;
use super::stored_terms::{EntriesSurvey, READ_BYTES, snapshot_terms};
use crate::cache::{Cache, Fork, Key, Stored};
use crate::lineage::{Lineage, Position, TermStarts};
use crate::replica::{Committed, LogPosition, Replay, StoredMembership, from_versioned};
use crate::storage::{LogStore, SnapshotFile};
use std::collections::BTreeMap;
use std::io;

/// A log that nobody appends to. As long as it is there, no node can start on its folder.
pub struct StoredLogCopy {
    pub lineage: Lineage,
    pub terms: TermStarts,
    pub last_index: u64,
    /// The last entry that is known to be committed.
    pub committed_index: u64,
    /// The newest term in which its node has voted; 0 if in none.
    pub voted_term: u64,
    /// The newest one that is known to be committed, and all later ones, oldest first.
    pub memberships: Vec<StoredMembership>,
    snapshot: Option<SnapshotFile>,
    log: Option<LogStore>,
}

/// The state that a log comes to.
pub struct Noted {
    pub cache: Cache,
    /// The history of whose fork the notes are, if there are any.
    fork: Option<String>,
    /// Log time at the fork, in milliseconds; 0 where the log does not reach back to it.
    pub fork_ms: u64,
    /// What was at the fork under the keys that the log has changed since, as far as it reaches back; `None` where there was
    /// no entry.
    pub bases: BTreeMap<Key, Option<Stored>>,
}

impl Noted {
    /// Which common entries went since the fork; `None` where nobody noted it.
    pub fn fork(&self) -> Option<&Fork> {
        self.cache.fork(self.fork.as_deref()?)
    }
}

impl StoredLogCopy {
    /// The log of a data folder. Blocks.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of_folder(lineage: Lineage, log: LogStore, snapshot: Option<SnapshotFile>) -> io::Result<Self> {
        let EntriesSurvey { terms, last_index, memberships } = EntriesSurvey::of(&log, snapshot.as_ref())?;
        let committed = log.state().committed.map(|bytes| committed_index(&bytes)).transpose()?;
        let committed_index = committed.unwrap_or(0).max(snapshot.as_ref().map_or(0, |file| file.index));
        let voted_term = stored_vote(&log)?.map_or(0, |vote| vote.term);
        let memberships = since_committed(memberships, committed_index);
        Ok(Self {
            lineage,
            terms,
            last_index,
            committed_index,
            voted_term,
            memberships,
            snapshot,
            log: Some(log),
        })
    }

    /// The log up to a backup.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of_backup(file: SnapshotFile) -> io::Result<Self> {
        let (lineage, terms) = snapshot_terms(&file)?;
        let index = file.index;
        Ok(Self {
            lineage,
            terms,
            last_index: index,
            committed_index: index,
            voted_term: 0,
            memberships: Vec::new(),
            snapshot: Some(file),
            log: None,
        })
    }

    /// The UUID of its folder; `None` for a backup.
    pub fn store_uuid(&self) -> Option<String> {
        self.log.as_ref().map(|log| log.store_id().to_string())
    }

    /// The store of its folder; `None` for a backup.
    pub fn store(&self) -> Option<&LogStore> {
        self.log.as_ref()
    }

    /// Index of the last entry in its snapshot; 0 without one.
    pub fn snapshot_index(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |file| file.index)
    }

    /// For finding where two logs part.
    pub fn position(&self) -> Position<'_> {
        Position { lineage: &self.lineage, terms: &self.terms, last_index: self.last_index }
    }

    /// The state after the entry `until`. From the fork on it is noted which common entries go, if the log reaches back to
    /// there, or if the state did so all along. `shared` is how many histories both sides have, and `other` is the lineage of
    /// the other side. Blocks.
    ///
    /// # Errors
    /// The log or the snapshot cannot be read.
    pub fn replay(&self, fork_index: u64, shared: usize, other: &Lineage, until: u64) -> io::Result<Noted> {
        let last_shared = shared.checked_sub(1).and_then(|last| self.lineage.histories().get(last));
        let left = last_shared.map(|history| history.id.as_str()).unwrap_or_default();
        let mut replay = self.replay_from_snapshot()?;
        let pristine_until = self.pristine_until(fork_index, shared);
        let (mut fork_ms, mut bases) = (0, BTreeMap::new());
        let mut note_from_here = |replay: &mut Replay| {
            let cache = replay.cache_mut();
            if cache.index() <= pristine_until && cache.fork(left).is_none() {
                fork_ms = cache.now_ms();
                cache.open_fork(left);
            }
        };
        self.each_entry(replay.cache().index(), until, |entry| {
            if entry.position.index <= pristine_until {
                return replay.apply(entry, |_, _| ());
            }
            note_from_here(&mut replay);
            replay.apply(entry, |cache, command| {
                // Without notes from the fork on nobody knows what the key was then.
                let Some(fork) = cache.fork(left).filter(|fork| fork.since <= pristine_until) else { return };
                for key in command.written_keys() {
                    note_base(cache, fork, pristine_until, key, &mut bases);
                }
            })
        })?;
        // The other side may be the only one that went on.
        note_from_here(&mut replay);
        let mut cache = replay.into_cache();
        cache.free_all_cleared();
        // Notes that begin after the fork are not complete. Who went on in a new history has them under the name of the one that
        // it left, and the side that was left by a node of its own under the name of that node's.
        let begun = other.histories().get(shared).map(|history| history.id.as_str());
        let named = [Some(left), begun].into_iter().flatten().filter_map(|name| cache.fork(name));
        let fork = named.filter(|fork| fork.since <= pristine_until).max_by_key(|fork| fork.is_complete());
        let fork = fork.map(|fork| fork.history.clone());
        Ok(Noted { cache, fork, fork_ms, bases })
    }

    /// The entries at the fork of those keys that are `wanted`; `None` if its snapshot is not of that moment. `shared` is how
    /// many histories it has in common with the side that it parted from. Blocks.
    ///
    /// # Errors
    /// The snapshot cannot be read.
    pub fn entries_at_fork(
        &self,
        fork_index: u64,
        shared: usize,
        wanted: impl Fn(&str) -> bool,
    ) -> io::Result<Option<Vec<Stored>>> {
        let of_fork = self.pristine_until(fork_index, shared);
        let Some(file) = self.snapshot.as_ref().filter(|file| file.index == of_fork) else { return Ok(None) };
        let found = Stored::in_snapshot(file.body(), wanted);
        found.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// The state after the entry `until`, or after the last one if the log ends before. Blocks.
    ///
    /// # Errors
    /// The log or the snapshot cannot be read.
    pub fn state(&self, until: u64) -> io::Result<Cache> {
        let mut replay = self.replay_from_snapshot()?;
        self.each_entry(replay.cache().index(), until, |entry| replay.apply(entry, |_, _| ()))?;
        Ok(replay.into_cache())
    }

    /// Passes the entries after `after` and up to `until` on, in their order. Blocks.
    ///
    /// # Errors
    /// The log cannot be read, or `pass` fails.
    pub fn each_entry(
        &self,
        after: u64,
        until: u64,
        mut pass: impl FnMut(Committed) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut next = after + 1;
        let Some(log) = self.log.as_ref().filter(|log| next < log.state().end()) else { return Ok(()) };
        if log.state().first_index > next {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the log begins after its snapshot"));
        }
        let end = log.state().end().min(until.saturating_add(1));
        while next < end {
            for (index, bytes) in log.read(next, end, READ_BYTES).map_err(io::Error::other)? {
                pass(Committed::from(decode_entry(bytes)?))?;
                next = index + 1;
            }
        }
        Ok(())
    }

    /// The snapshot of its folder, or the backup itself.
    pub(super) fn snapshot(&self) -> Option<&SnapshotFile> {
        self.snapshot.as_ref()
    }

    fn replay_from_snapshot(&self) -> io::Result<Replay> {
        let Some(file) = &self.snapshot else { return Ok(Replay::from_nothing()) };
        let cache = Cache::restore(file.body());
        let cache = cache.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Replay::from_snapshot(cache))
    }

    /// The last index at which the state is still that at the fork.
    fn pristine_until(&self, fork_index: u64, shared: usize) -> u64 {
        match self.lineage.histories().get(shared) {
            // A history that begins with the state at the fork, moved to an index of its own.
            Some(own) if own.fork_index == fork_index => own.start_index,
            _ => fork_index,
        }
    }
}

/// Notes what was under a key at the fork, when it is about to be changed.
fn note_base(
    cache: &Cache,
    fork: &Fork,
    pristine_until: u64,
    key: String,
    bases: &mut BTreeMap<Key, Option<Stored>>,
) {
    let Ok(key) = Key::new(&key) else { return };
    match cache.stored(key.as_str()) {
        Some(stored) if stored.revision <= pristine_until => {
            bases.entry(key).or_insert(Some(stored));
        }
        // Changed before: what it was is noted.
        Some(_) => {}
        // It was there, and was evicted or cleared.
        None if fork.gone(key.as_str()).is_some() || !fork.is_complete() => {}
        None => {
            bases.entry(key).or_insert(None);
        }
    }
}

/// Leaves out those that a later committed one replaced.
fn since_committed(mut memberships: Vec<StoredMembership>, committed_index: u64) -> Vec<StoredMembership> {
    let is_committed =
        |known: &StoredMembership| known.position.is_none_or(|position| position.index <= committed_index);
    let replaced = memberships.iter().filter(|known| is_committed(known)).count().saturating_sub(1);
    memberships.split_off(replaced)
}

fn committed_index(bytes: &[u8]) -> io::Result<u64> {
    let position: LogPosition = from_versioned("the committed id", super::log::LOG_ID_VERSION, bytes)?;
    Ok(position.index)
}

impl Drop for StoredLogCopy {
    fn drop(&mut self) {
        if let Some(log) = self.log.take() {
            log.close();
        }
    }
}
