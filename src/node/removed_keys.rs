//! Which keys clients have removed, as far as the cluster remembers.

use super::session::{Session, SessionError};
use crate::cache::{Cache, Key, Need, Role, Scope};

impl Session {
    /// Keys that were removed after this revision and are absent, with the revision of their removal, in its order: at least `limit`
    /// if there are as many, and all of a revision. What a clear has removed is not among them.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn removed_keys(&self, after: u64, limit: usize) -> Result<Vec<(Key, u64)>, SessionError> {
        let look = |cache: &Cache| {
            let newer = cache.tombstones().filter(|tombstone| tombstone.revision > after);
            let mut removed: Vec<(Key, u64)> = Vec::new();
            for tombstone in newer {
                let last = removed.last().map(|(_, revision)| *revision);
                if removed.len() >= limit && last != Some(tombstone.revision) {
                    break;
                }
                if let Scope::Key(key) = &tombstone.scope {
                    removed.push((key.clone(), tombstone.revision));
                }
            }
            removed
        };
        let read = self.read(&Need::Prefix(Role::Read, String::new()), look).await?;
        let removed = read.value.into_iter();
        Ok(removed.map(|(key, revision)| (self.scope.client_key(key), revision)).collect())
    }
}
