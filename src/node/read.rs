//! Reads, answered from this node's own copy: once the read index is applied (linearizable, lease), or immediately
//! (stale). There is no fallback to an older value: without a read index the read fails.

use super::access::Principal;
use super::error::NodeError;
use super::inner::Inner;
use super::read_index::ReadIndexFailure;
use crate::api::Consistency;
use crate::cache::{Absence, Cache, Found, Key, Seen, TouchConfig};
use std::borrow::Borrow;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// In a cache of up to so many entries every read changes the order of uses. In a larger one, reads of the newest
/// sixteenth of the entries do not, because that is not worth a log entry.
const EXACT_ENTRIES_MAX: u64 = 1_024;

/// Who reads, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadAsked<'a> {
    pub principal: &'a Principal,
    pub consistency: Consistency,
    /// The read is not older than this log index.
    pub min_index: Option<u64>,
    /// How long to wait; the node's default if `None`.
    pub limit: Option<Duration>,
}

/// A value that was read, and the position in the log at which it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadAt<T> {
    pub value: T,
    /// The last applied index at that moment.
    pub index: u64,
    pub term: u64,
    /// Log time at that moment by this node's clock, in milliseconds since the Unix epoch, from which the remaining TTL
    /// is computed. Whether an entry has expired depends on the log alone.
    pub now_ms: u64,
}

impl<T> ReadAt<Result<T, NodeError>> {
    /// What was read, or why it may not be.
    pub(super) fn transpose(self) -> Result<ReadAt<T>, NodeError> {
        let Self { value, index, term, now_ms } = self;
        Ok(ReadAt { value: value?, index, term, now_ms })
    }
}

/// How reads are counted, according to the settings and the size of the cache.
#[derive(Clone, Copy)]
struct ReadCounting {
    touch: TouchConfig,
    exact: bool,
}

impl ReadCounting {
    fn of(cache: &Cache) -> Self {
        Self { touch: cache.config().touch, exact: cache.len() <= EXACT_ENTRIES_MAX }
    }
}

impl Inner {
    /// Reads a key, with the number of its uses before this one, or says what is known of one that is absent. Counts as a use.
    pub(super) async fn get_seen(
        &self,
        key: &Key,
        principal: &Principal,
        consistency: Consistency,
        min_index: Option<u64>,
        limit: Option<Duration>,
    ) -> Result<ReadAt<Result<Seen, Absence>>, NodeError> {
        let look = |cache: &Cache| {
            self.judge_key(cache, principal, key)?;
            Ok((cache.look_up(key.as_str()), ReadCounting::of(cache)))
        };
        let read = self.read(consistency, min_index, limit, look).await?;
        let ReadAt { value, index, term, now_ms } = read.transpose()?;
        let (seen, counting) = value;
        Ok(ReadAt { value: self.count_read(key, seen, counting), index, term, now_ms })
    }

    /// Reads several keys at one index, up to the one with which the values have `bytes_max` bytes. Each that is read counts as a use,
    /// if `is_use` says so of its position.
    pub(super) async fn get_many(
        &self,
        keys: &[impl Borrow<Key>],
        is_use: impl Fn(usize) -> bool,
        bytes_max: u64,
        asked: ReadAsked<'_>,
    ) -> Result<ReadAt<Vec<Result<Found, Absence>>>, NodeError> {
        let ReadAsked { principal, consistency, min_index, limit } = asked;
        let look = |cache: &Cache| {
            keys.iter().try_for_each(|key| self.judge_key(cache, principal, key.borrow()))?;
            let mut bytes = 0;
            let fitting = keys.iter().map_while(|key| {
                let seen = (bytes < bytes_max).then(|| cache.look_up(key.borrow().as_str()))?;
                bytes += seen.as_ref().map_or(0, |seen| seen.found.value.bytes.len() as u64);
                Some(seen)
            });
            let seen: Vec<Result<Seen, Absence>> = fitting.collect();
            Ok((seen, ReadCounting::of(cache)))
        };
        let read = self.read(consistency, min_index, limit, look).await?;
        let ReadAt { value, index, term, now_ms } = read.transpose()?;
        let (seen, counting) = value;
        let count = |(at, (key, seen)): (usize, (&_, _))| match is_use(at) {
            true => self.count_read(Borrow::<Key>::borrow(key), seen, counting),
            false => seen,
        };
        let found = keys.iter().zip(seen).enumerate().map(count).map(|seen| seen.map(|seen| seen.found));
        Ok(ReadAt { value: found.collect(), index, term, now_ms })
    }

    /// Counts a read. Returns what it saw, with the uses that are not in the log yet included.
    fn count_read(
        &self,
        key: &Key,
        seen: Result<Seen, Absence>,
        counting: ReadCounting,
    ) -> Result<Seen, Absence> {
        #[cfg(feature = "sabotage")]
        let seen = seen.and_then(|seen| {
            let by_wall_clock = crate::sabotage::Sabotage::LocalClock.is_chosen();
            let expires_at_ms = seen.found.info.expires_at_ms;
            let is_live = !by_wall_clock || expires_at_ms.is_none_or(|at| at > crate::sabotage::wall_ms());
            if is_live { Ok(seen) } else { Err(Absence { removal: None, known_after: u64::MAX }) }
        });
        let uses = self.touches.note(key.as_str(), seen.as_ref().ok(), counting.touch, counting.exact);
        seen.map(|seen| Seen { uses, ..seen })
    }

    /// Reads the cache once this node's copy is fresh enough.
    pub(super) async fn read<T>(
        &self,
        consistency: Consistency,
        min_index: Option<u64>,
        limit: Option<Duration>,
        look: impl FnOnce(&Cache) -> T,
    ) -> Result<ReadAt<T>, NodeError> {
        self.refuse_when_out_of_service()?;
        self.refuse_when_superseded(consistency)?;
        self.departure.allows_reads()?;
        let deadline = Instant::now() + limit.unwrap_or(self.options.limits.request);
        let index = match consistency {
            Consistency::Stale => None,
            #[cfg(feature = "sabotage")]
            _ if crate::sabotage::Sabotage::StaleReads.is_chosen() => None,
            Consistency::Linearizable | Consistency::Detached => {
                Some(self.find_read_index(false, deadline).await?)
            }
            Consistency::Lease => Some(self.find_read_index(true, deadline).await?),
        };
        let needed = index.max(min_index).unwrap_or(0);
        let replica = self.consensus.replica();
        if let Some(asked) = min_index.filter(|asked| *asked > replica.applied_index()) {
            // A lease read relies on clocks, so its index does not prove how far the cluster is.
            let index = index.filter(|_| matches!(consistency, Consistency::Linearizable));
            self.refuse_future_index(asked, index, deadline).await?;
        }
        if replica.applied_index() < needed && timeout_at(deadline, replica.applied(needed)).await.is_err() {
            let applied = replica.applied_index();
            let reason = format!("this node has applied index {applied}, the read needs {needed}");
            return Err(NodeError::Unavailable(reason));
        }
        let term = self.consensus.term();
        // Between two log entries log time does not advance, but the remaining TTL must.
        let clock_ms = self.consensus.clock().now_ms().unwrap_or(0);
        Ok(replica.with_cache(|cache| ReadAt {
            value: look(cache),
            index: cache.index(),
            term,
            now_ms: cache.now_ms().max(clock_ms),
        }))
    }

    /// Refuses an index that the cluster has not reached: no client can have got it, so waiting is pointless. Asks the
    /// leader for its index, unless this node applies the index first. Without a leader the read waits.
    async fn refuse_future_index(
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
        let reason = format!("the cluster is at index {index}, it has not reached {asked} yet");
        Err(NodeError::Conflict(reason))
    }

    /// Asks until a leader answers, or the time is up. Asking has no effect, so it can be repeated.
    async fn find_read_index(&self, lease: bool, deadline: Instant) -> Result<u64, NodeError> {
        let started = Instant::now();
        let patience = (started + self.options.limits.leader_wait).min(deadline);
        let mut tried = started;
        loop {
            // A timer costs every read something, and most have an answer long before.
            let answer = match tried + self.read_index_timeout() < deadline {
                true => Ok(self.try_read_index(lease).await),
                false => timeout_at(deadline, self.try_read_index(lease)).await,
            };
            let reason = match answer {
                Ok(Ok(index)) => return Ok(index),
                Ok(Err(NodeError::Unavailable(reason))) => reason,
                Ok(Err(error)) => return Err(error),
                Err(_) => "no majority confirmed the read in time".into(),
            };
            if Instant::now() + RETRY_PAUSE >= patience {
                return Err(self.unavailable(reason));
            }
            tokio::time::sleep(RETRY_PAUSE).await;
            tried = Instant::now();
        }
    }

    /// A request that this node gives up. Without a majority, that is what its client must know, whichever of its
    /// consequences came up last.
    pub(super) fn unavailable(&self, reason: String) -> NodeError {
        let no_majority = || "no majority of the voters answers this node".into();
        NodeError::Unavailable(if self.audit.health.has_majority() { reason } else { no_majority() })
    }

    async fn try_read_index(&self, lease: bool) -> Result<u64, NodeError> {
        self.read_index.ask(lease).await.map_err(|error| match error {
            ReadIndexFailure::NotLeader(reason) | ReadIndexFailure::Unavailable(reason) => {
                NodeError::Unavailable(reason)
            }
            ReadIndexFailure::Stopped(reason) => NodeError::Fatal(reason),
        })
    }
}
