//! Whose turn it is to try out a command on a key. Without turns, those of one node would undo each other's work where many want the same key.

use super::client::COMMAND_TIMEOUT;
use super::reply::Reply;
use crate::cache::Key;
use std::hash::{BuildHasher, RandomState};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

const STRIPES: usize = 256;

/// See the module. Keys share turns by chance.
#[derive(Debug)]
pub(super) struct Turns {
    stripes: Vec<Mutex<()>>,
    hasher: RandomState,
}

impl Default for Turns {
    fn default() -> Self {
        Self { stripes: (0..STRIPES).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

impl Turns {
    /// Waits for the turn, which ends when what this returns is dropped.
    ///
    /// # Errors
    /// It takes too long. Nothing was done.
    pub async fn wait(&self, key: &Key) -> Result<MutexGuard<'_, ()>, Reply> {
        let stripe = self.hasher.hash_one(key.as_str()) as usize % STRIPES;
        timeout(COMMAND_TIMEOUT, self.stripes[stripe].lock())
            .await
            .map_err(|_| Reply::error("UNAVAILABLE nothing was done: too many scripts want the same key"))
    }
}
