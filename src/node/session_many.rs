//! Reads of several keys at one moment, walks over all keys, and counts of them.

use super::error::NodeError;
use super::read::{ReadAsked, ReadAt};
use super::session::{Session, SessionError};
use crate::cache::{Absence, Cache, CacheConfig, Found, Key, Need, Policy, Role, Scanned};

impl Session {
    /// Reads several keys at one moment, and counts a use of each. The answers are in the order of `keys`; the last one is that with
    /// which the values have `bytes_max` bytes.
    ///
    /// # Errors
    /// As [`Session::get`].
    pub async fn get_many(
        &self,
        keys: &[Key],
        bytes_max: u64,
    ) -> Result<ReadAt<Vec<Result<Found, Absence>>>, SessionError> {
        self.get_many_as(keys, |_| true, bytes_max).await
    }

    /// The same, where `is_use` says of each position whether it counts as a use.
    ///
    /// # Errors
    /// As [`Session::get`].
    pub async fn get_many_as(
        &self,
        keys: &[Key],
        is_use: impl Fn(usize) -> bool,
        bytes_max: u64,
    ) -> Result<ReadAt<Vec<Result<Found, Absence>>>, SessionError> {
        self.refuse_stale()?;
        let keys = keys.iter().map(|key| self.scope.stored_key(key));
        let keys = keys.collect::<Result<Vec<_>, NodeError>>().map_err(|error| self.fail(error))?;
        let Self { principal, consistency, min_index, limit, .. } = self;
        let (consistency, min_index, limit) = (*consistency, *min_index, *limit);
        let asked = ReadAsked { principal, consistency, min_index, limit };
        let read = self.node.inner.get_many(&keys, is_use, bytes_max, asked);
        let read = read.await;
        self.refuse_stale()?;
        read.map_err(|error| self.fail(error))
    }

    /// The keys with this prefix in so many places of the cache's table from this one on. See [`Cache::scan`]. It counts as a use of
    /// none.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn scan(
        &self,
        prefix: &str,
        from: u64,
        places: usize,
    ) -> Result<ReadAt<Scanned>, SessionError> {
        let prefix = self.scope.stored_prefix(prefix.to_owned()).map_err(|error| self.fail(error))?;
        let need = Need::Prefix(Role::Read, prefix.clone());
        let mut read = self.read(&need, |cache: &Cache| cache.scan(&prefix, from, places)).await?;
        let keys = std::mem::take(&mut read.value.keys).into_iter();
        read.value.keys = keys.map(|(key, kind)| (self.scope.client_key(key), kind)).collect();
        Ok(read)
    }

    /// How often a key was used, if it is there, and the policy that is in force. It counts as a use of none.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn frequency(&self, key: &Key) -> Result<ReadAt<(Option<u16>, Policy)>, SessionError> {
        let key = self.scope.stored_key(key).map_err(|error| self.fail(error))?.into_owned();
        let need = Need::Key(Role::Read, key.clone());
        self.read(&need, |cache: &Cache| (cache.frequency(key.as_str()), cache.config().policy)).await
    }

    /// The cluster's settings, as far as this node knows.
    pub fn known_config(&self) -> CacheConfig {
        self.node.inner.consensus.replica().with_cache(|cache| cache.config().clone())
    }

    /// How many keys have each of these prefixes.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn count(&self, prefixes: &[String]) -> Result<ReadAt<Vec<u64>>, SessionError> {
        let need = Need::Prefix(Role::Read, String::new());
        self.read(&need, |cache: &Cache| prefixes.iter().map(|prefix| cache.count(prefix)).collect()).await
    }

    /// How many other voters have everything that was answered, at least: a majority has, and this node may be one of it.
    pub fn others_with_everything(&self) -> usize {
        let (_, membership) = self.node.inner.consensus.replica().applied_state();
        membership.membership.voters.iter().map(|voters| voters.len() / 2).min().unwrap_or(0)
    }
}
