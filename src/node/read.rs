//! Reads, answered by this node's own copy: after the read index is applied (linearizable, lease), or at
//! once (stale). There is no falling back to an older value: without a read index there is no answer.

use super::error::NodeError;
use super::read_index::NoIndex;
use super::start::{Inner, Node};
use crate::cache::{Cache, Found, Key, Seen};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// In a cache of so many entries every read finds its place in the order of uses; in a larger one those of the newest
/// sixteenth are not worth it.
const EXACT_ENTRIES_MAX: u64 = 1_024;

/// What a read guarantees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReadLevel {
    /// Nothing older than what was acknowledged before the read began.
    #[default]
    Linearizable,
    /// The same, as long as no node's clock runs much faster than another's.
    Lease,
    /// What this node has applied.
    Stale,
}

/// Something read, and where in history it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadAt<T> {
    pub value: T,
    /// The last applied index at that moment.
    pub index: u64,
    pub term: u64,
    /// Log time at that moment as this node's clock has it, in milliseconds since the Unix epoch: what is left
    /// of a time to live is reckoned from it. Whether one is over is judged by the log alone.
    pub now_ms: u64,
}

impl Node {
    /// Reads a key with how often it was used before; that counts as a use of it.
    ///
    /// # Errors
    /// [`NodeError`]; there is no answer from an older state.
    pub async fn get_seen(&self, key: &Key, level: ReadLevel) -> Result<ReadAt<Option<Seen>>, NodeError> {
        self.inner.get_seen(key, level, None).await
    }
}

impl Inner {
    /// Reads a key, and counts that.
    pub(super) async fn get(
        &self,
        key: &Key,
        level: ReadLevel,
        min_index: Option<u64>,
    ) -> Result<ReadAt<Option<Found>>, NodeError> {
        let ReadAt { value, index, term, now_ms } = self.get_seen(key, level, min_index).await?;
        Ok(ReadAt { value: value.map(|seen| seen.found), index, term, now_ms })
    }

    /// The same, with how often the key was used before.
    pub(super) async fn get_seen(
        &self,
        key: &Key,
        level: ReadLevel,
        min_index: Option<u64>,
    ) -> Result<ReadAt<Option<Seen>>, NodeError> {
        let look = |cache: &Cache| {
            (cache.read(key.as_str()), cache.config().touch, cache.len() <= EXACT_ENTRIES_MAX)
        };
        let ReadAt { value, index, term, now_ms } = self.read(level, min_index, None, look).await?;
        let (seen, touch, exact) = value;
        #[cfg(feature = "sabotage")]
        let seen = seen.filter(|seen| {
            let lies = crate::sabotage::Sabotage::LocalClock.is_chosen();
            !lies || seen.found.expires_at_ms.is_none_or(|at| at > crate::sabotage::wall_ms())
        });
        let uses = self.touches.note(key.as_str(), seen.as_ref(), touch, exact);
        let seen = seen.map(|seen| Seen { uses, ..seen });
        Ok(ReadAt { value: seen, index, term, now_ms })
    }

    /// Looks at the cache once this node's copy is fresh enough.
    pub(super) async fn read<T>(
        &self,
        level: ReadLevel,
        min_index: Option<u64>,
        limit: Option<Duration>,
        look: impl FnOnce(&Cache) -> T,
    ) -> Result<ReadAt<T>, NodeError> {
        self.refuse_when_out_of_service()?;
        let deadline = Instant::now() + limit.unwrap_or(self.options.limits.request);
        let index = match level {
            ReadLevel::Stale => None,
            #[cfg(feature = "sabotage")]
            _ if crate::sabotage::Sabotage::StaleReads.is_chosen() => None,
            ReadLevel::Linearizable => Some(self.find_read_index(false, deadline).await?),
            ReadLevel::Lease => Some(self.find_read_index(true, deadline).await?),
        };
        let needed = index.max(min_index).unwrap_or(0);
        let replica = self.consensus.replica();
        if let Some(asked) = min_index.filter(|asked| *asked > replica.applied_index()) {
            // A lease may be mistaken about the time, and then about where the cluster is.
            let index = index.filter(|_| matches!(level, ReadLevel::Linearizable));
            self.refuse_what_cannot_come(asked, index, deadline).await?;
        }
        if replica.applied_index() < needed && timeout_at(deadline, replica.applied(needed)).await.is_err() {
            let applied = replica.applied_index();
            let reason = format!("this node has applied index {applied}, the read needs {needed}");
            return Err(NodeError::Unavailable(reason));
        }
        let term = self.consensus.term();
        // Between two log entries log time stands still; what is left of a time to live does not.
        let clock_ms = self.consensus.clock().now_ms().unwrap_or(0);
        Ok(replica.with_cache(|cache| ReadAt {
            value: look(cache),
            index: cache.index(),
            term,
            now_ms: cache.now_ms().max(clock_ms),
        }))
    }

    /// Nobody can have been told of an index that the cluster has not come to, so there is no use in waiting for it. The leader knows,
    /// if there is one; what this node hears of in the meantime need not be asked for.
    async fn refuse_what_cannot_come(
        &self,
        asked: u64,
        index: Option<u64>,
        deadline: Instant,
    ) -> Result<(), NodeError> {
        let index = match index {
            Some(index) => index,
            None => tokio::select! {
                () = self.consensus.replica().applied(asked) => return Ok(()),
                index = self.find_read_index(false, deadline) => match index {
                    Ok(index) => index,
                    Err(_) => return Ok(()),
                },
            },
        };
        if asked <= index {
            return Ok(());
        }
        let reason = format!("the cluster is at index {index}, it has not come to {asked} yet");
        Err(NodeError::Conflict(reason))
    }

    /// Asks until a leader confirms, or time is up. Asking again is harmless.
    async fn find_read_index(&self, lease: bool, deadline: Instant) -> Result<u64, NodeError> {
        let patience = (Instant::now() + self.options.limits.leader_wait).min(deadline);
        loop {
            let reason = match timeout_at(deadline, self.try_read_index(lease)).await {
                Ok(Ok(index)) => return Ok(index),
                Ok(Err(NodeError::Unavailable(reason))) => reason,
                Ok(Err(error)) => return Err(error),
                Err(_) => "no majority confirmed the read in time".into(),
            };
            if Instant::now() + RETRY_PAUSE >= patience {
                return Err(NodeError::Unavailable(reason));
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn try_read_index(&self, lease: bool) -> Result<u64, NodeError> {
        self.read_index.ask(lease).await.map_err(|error| match error {
            NoIndex::Unavailable(reason) => NodeError::Unavailable(reason),
            NoIndex::Stopped(reason) => NodeError::Fatal(reason),
        })
    }
}
