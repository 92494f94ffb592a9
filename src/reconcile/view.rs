//! Finds out what a side knows of a key: from its entries, its open fork, and the tombstones.

use super::knowledge::{Entry, Fate, Knowledge, Lifetime};
use crate::cache::{Cache, Fork, Key, Stored, key_hash};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::convert::Infallible;

/// How the log time of a side is brought to that of the cluster.
///
/// Each log has a time of its own: it advances while no wall clock does, and may lead the wall clocks. Every time of a side is
/// shifted by the same amount, so their order stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// What is added to the side's times, in milliseconds.
    pub shift_ms: i64,
    /// Log time of the cluster at the fork: no change since is older. 0 where it is not known.
    pub fork_ms: u64,
    /// Log time of the cluster now: no change is newer.
    pub now_ms: u64,
}

impl Clock {
    fn shift(self, ms: u64) -> u64 {
        ms.saturating_add_signed(self.shift_ms)
    }

    /// When something happened.
    fn stamp(self, ms: u64) -> u64 {
        self.shift(ms).max(self.fork_ms).min(self.now_ms)
    }

    /// A lifetime: never longer than it was when it was set.
    fn lifetime(self, stored: &Stored) -> Lifetime {
        let Some(expires_at_ms) = stored.expires_at_ms else { return Lifetime::FOREVER };
        let granted = match stored.sliding_ms {
            0 => expires_at_ms.saturating_sub(stored.modified_at_ms),
            sliding => u64::from(sliding),
        };
        let latest = self.now_ms.saturating_add(granted);
        Lifetime { expires_at_ms: self.shift(expires_at_ms).min(latest), sliding_ms: stored.sliding_ms }
    }
}

/// What one node that has left on purpose had changed, and earlier merges brought in: then that is what it had, and the other side
/// has wished nothing there. Of a history that several folders have this cannot be said: the next folder may know less than the
/// one before.
#[derive(Debug, Default)]
pub struct Merged {
    /// The log entries that brought it in.
    pub steps: BTreeSet<u64>,
    /// Hashes of the keys where something of the other side's own stayed.
    pub mixed: BTreeSet<u128>,
}

/// A side's state, and how much of it both sides share. What clears removed must be freed: see [`Cache::free_all_cleared`].
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub cache: &'a Cache,
    /// The last index of the log that both sides have.
    pub fork_index: u64,
    /// What the side did up to this index has been brought in before, or was decided against; 0 if nothing was.
    pub decided_until: u64,
    /// What came in from the other one before.
    pub merged: Option<&'a Merged>,
    /// What the side has noted since; `None` if it has noted nothing.
    pub fork: Option<&'a Fork>,
    pub clock: Clock,
}

impl View<'_> {
    /// What the side knows of a key.
    pub fn of(&self, key: &str) -> Knowledge {
        match self.cache.stored(key) {
            Some(stored) => self.of_entry(&stored),
            None => self.of_absence(key),
        }
    }

    /// What it knows of a key that has an entry.
    pub fn of_entry(&self, stored: &Stored) -> Knowledge {
        let key = stored.record.key_bytes();
        let entry = Entry {
            revision: stored.revision,
            created_revision: stored.created_revision,
            version: stored.version,
            stamp_ms: self.clock.stamp(stored.modified_at_ms),
            lifetime: self.clock.lifetime(stored),
            hash: stored.record.value_hash(),
            number: stored.record.counter(),
        };
        let is_changed = stored.revision > self.fork_index;
        let is_expired = entry.lifetime.expires_at_ms <= self.clock.now_ms;
        let fate = match (is_changed, is_expired) {
            _ if is_changed && self.is_decided(stored.revision) => Fate::Absent,
            (false, false) => Fate::Unchanged(entry),
            (false, true) => Fate::Absent,
            (true, false) => Fate::Changed(entry),
            (true, true) => Fate::Lost { stamp_ms: entry.stamp_ms },
        };
        let was_common = match self.fork {
            _ if stored.created_revision <= self.fork_index => Some(true),
            _ if self.is_merged(key, stored.created_revision) => Some(true),
            Some(fork) if fork.gone(stored.record.key()).is_some() => Some(true),
            _ if self.is_exact() => Some(false),
            _ => None,
        };
        Knowledge { fate, was_common, is_merged: self.is_merged(key, stored.revision) }
    }

    fn is_merged(&self, key: &[u8], revision: u64) -> bool {
        self.merged
            .is_some_and(|merged| merged.steps.contains(&revision) && !merged.mixed.contains(&key_hash(key)))
    }

    fn is_decided(&self, revision: u64) -> bool {
        revision > self.fork_index && revision <= self.decided_until
    }

    /// Whether the side has noted all common entries that went. Once some of its changes were brought in, more entries are
    /// common than there were at the fork.
    pub fn is_exact(&self) -> bool {
        let covers = |fork: &&Fork| self.decided_until <= self.fork_index || fork.leaving.is_some();
        self.fork.filter(covers).is_some_and(Fork::is_complete)
    }

    fn of_absence(&self, key: &str) -> Knowledge {
        if let Some(gone) = self.fork.and_then(|fork| fork.gone(key)) {
            let stamp_ms = self.clock.stamp(gone.at_ms);
            let fate = match (gone.revision > self.fork_index, gone.removed) {
                _ if self.is_decided(gone.revision) => Fate::Absent,
                (false, _) => Fate::Absent,
                (true, true) => Fate::Deleted { stamp_ms },
                (true, false) => Fate::Lost { stamp_ms },
            };
            return Knowledge {
                fate,
                was_common: Some(true),
                is_merged: self.is_merged(key.as_bytes(), gone.revision),
            };
        }
        if self.is_exact() {
            return Knowledge { fate: Fate::Absent, was_common: Some(false), is_merged: false };
        }
        let removal = self.cache.tombstone(key).filter(|found| found.revision > self.fork_index);
        if let Some(removal) = removal.filter(|removal| !self.is_decided(removal.revision)) {
            // It may have been of a key that only this side knew. Of a clear: the key may have been made again since, and lost.
            let fate = Fate::Deleted { stamp_ms: self.clock.stamp(removal.at_ms) };
            return Knowledge {
                fate,
                was_common: None,
                is_merged: self.is_merged(key.as_bytes(), removal.revision),
            };
        }
        let (forgotten_revision, forgotten_at_ms) = self.cache.forgotten_removals();
        let is_forgotten = forgotten_revision > self.fork_index;
        let forgotten_ms = if is_forgotten { self.clock.stamp(forgotten_at_ms) } else { self.clock.fork_ms };
        Knowledge { fate: Fate::Unknown { forgotten_ms }, was_common: None, is_merged: false }
    }
}

/// Goes through the keys for which either side has an entry, in their order, with what each side knows of them.
///
/// # Errors
/// Those of `each`.
pub(super) fn try_each_key<E>(
    incoming: View<'_>,
    live: View<'_>,
    mut each: impl FnMut(Key, Knowledge, Knowledge) -> Result<(), E>,
) -> Result<(), E> {
    let (mut theirs, mut ours) = (incoming.cache.all_stored().peekable(), live.cache.all_stored().peekable());
    loop {
        let order = match (theirs.peek(), ours.peek()) {
            (Some(left), Some(right)) => left.record.key_bytes().cmp(right.record.key_bytes()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return Ok(()),
        };
        let left: Option<Stored> = if order == Ordering::Greater { None } else { theirs.next() };
        let right: Option<Stored> = if order == Ordering::Less { None } else { ours.next() };
        let Some(key) = left.as_ref().or(right.as_ref()).map(|stored| stored.record.to_key()) else {
            return Ok(());
        };
        let known = |view: &View<'_>, stored: Option<&Stored>| match stored {
            Some(stored) => view.of_entry(stored),
            None => view.of(key.as_str()),
        };
        let (theirs, ours) = (known(&incoming, left.as_ref()), known(&live, right.as_ref()));
        each(key, theirs, ours)?;
    }
}

/// [`try_each_key`] without errors.
pub(super) fn each_key(incoming: View<'_>, live: View<'_>, mut each: impl FnMut(Key, Knowledge, Knowledge)) {
    let Ok(()) = try_each_key(incoming, live, |key, theirs, ours| {
        each(key, theirs, ours);
        Ok::<(), Infallible>(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::CacheConfig;

    /// A fork that could not note everything knows that it does not know.
    #[test]
    fn notes_that_overflowed_prove_no_absence() {
        let (cache, fork) = (Cache::new(CacheConfig::default()), Fork::incomplete("other"));
        let clock = Clock { shift_ms: 0, fork_ms: 1, now_ms: 9 };
        let view =
            View { cache: &cache, fork_index: 5, decided_until: 0, merged: None, fork: Some(&fork), clock };
        assert!(!view.is_exact());
        let absent = view.of("k");
        assert!(matches!(absent.fate, Fate::Unknown { .. }) && absent.was_common.is_none(), "{absent:?}");
    }
}
