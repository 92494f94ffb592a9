//! Applies a log outside of a node: what a log on disk comes to.

use super::change_log::ChangeSet;
use super::digests::DigestHistory;
use super::membership::StoredMembership;
use super::replica::{Committed, DecodedEntry, State};
use crate::cache::limits::FEATURE_LEVEL;
use crate::cache::{Cache, CacheConfig, Command};
use crate::lineage::TermStarts;
use std::io;

/// A state that no node has.
pub struct Replay(State);

impl Replay {
    /// The empty state before the first entry.
    pub fn from_nothing() -> Self {
        Self::from_snapshot(Cache::new(CacheConfig::default()))
    }

    /// The state in a snapshot.
    pub fn from_snapshot(cache: Cache) -> Self {
        let (membership, terms) = (StoredMembership::default(), TermStarts::default());
        Self(State { cache, last_applied: None, membership, terms, digests: DigestHistory::default() })
    }

    /// Applies the next entry. `before` sees its command, and the state before it.
    ///
    /// # Errors
    /// The entry cannot be decoded, or needs a feature level that this program does not know.
    pub fn apply(&mut self, entry: Committed, before: impl FnOnce(&Cache, &Command)) -> io::Result<()> {
        let mut changes: Vec<ChangeSet> = Vec::new();
        let entry = DecodedEntry::decode(entry, FEATURE_LEVEL)?;
        if let Some(command) = entry.command() {
            before(&self.0.cache, command);
        }
        self.0.apply(entry, &mut changes);
        Ok(())
    }

    pub fn cache(&self) -> &Cache {
        &self.0.cache
    }

    pub fn cache_mut(&mut self) -> &mut Cache {
        &mut self.0.cache
    }

    pub fn into_cache(self) -> Cache {
        self.0.cache
    }
}
