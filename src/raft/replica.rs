//! This node's copy of the state: the cache, how far it is applied, and its recent digests. `apply` writes
//! it, everybody else reads it.

use super::clock::LogClock;
use super::codec::{Envelope, decode_touches};
use super::types::{LogId, Proposal, Response, StoredMembership};
use crate::cache::limits::FEATURE_LEVEL;
use crate::cache::{Cache, CacheConfig, CommandError, Digest, Frozen, Stamp};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, RwLock, RwLockReadGuard};
use tokio::sync::watch;

/// How many (index, digest) pairs are kept for comparison with other nodes.
const DIGESTS_KEPT: usize = 1_024;
/// Under load the newest digests of two nodes do not overlap, so those at every so manieth index are kept
/// for longer.
const CHECKPOINT_EVERY: u64 = 1_024;
const CHECKPOINTS_KEPT: usize = 256;
/// How many of the newest digests are compared besides the checkpoints.
const NEWEST_COMPARED: usize = 128;

/// The state and those who wait for it to move.
pub struct Replica {
    state: RwLock<State>,
    applied: watch::Sender<u64>,
    clock: Arc<LogClock>,
}

struct State {
    cache: Cache,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    digests: VecDeque<(u64, Digest)>,
    checkpoints: VecDeque<(u64, Digest)>,
}

/// A still picture of the state, for a snapshot.
pub struct Picture {
    pub frozen: Frozen,
    pub last_applied: Option<LogId>,
    pub membership: StoredMembership,
}

impl Replica {
    pub fn new(clock: Arc<LogClock>) -> Self {
        let state = State {
            cache: Cache::new(CacheConfig::default()),
            last_applied: None,
            membership: StoredMembership::default(),
            digests: VecDeque::with_capacity(DIGESTS_KEPT),
            checkpoints: VecDeque::new(),
        };
        Self { state: RwLock::new(state), applied: watch::Sender::new(0), clock }
    }

    /// Looks at the cache. Short: `apply` waits meanwhile.
    pub fn with_cache<T>(&self, look: impl FnOnce(&Cache) -> T) -> T {
        look(&self.read().cache)
    }

    /// The newest (index, digest) pairs, oldest first.
    pub fn digests(&self) -> Vec<(u64, Digest)> {
        self.read().digests.iter().copied().collect()
    }

    /// The (index, digest) pairs to compare with another node's, oldest first.
    pub fn comparable(&self) -> Vec<(u64, Digest)> {
        let state = self.read();
        let newest = state.digests.iter().skip(state.digests.len().saturating_sub(NEWEST_COMPARED));
        state.checkpoints.iter().chain(newest).copied().collect()
    }

    /// Whether the membership that is applied here, and so committed, has a node.
    pub fn has_member(&self, id: u64) -> bool {
        self.read().membership.get_node(&id).is_some()
    }

    /// Makes this replica differ from the others, for tests of those who compare them.
    #[doc(hidden)]
    pub fn corrupt(&self) {
        self.write().cache.corrupt();
    }

    /// Index of the last applied entry.
    pub fn applied_index(&self) -> u64 {
        *self.applied.borrow()
    }

    /// Returns once the entry at `index` is applied.
    pub async fn applied(&self, index: u64) {
        // The sender lives as long as `self`, so waiting can't fail.
        let _ = self.applied.subscribe().wait_for(|applied| *applied >= index).await;
    }

    /// A receiver of the applied index.
    pub fn watch_applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    pub(super) fn applied_state(&self) -> (Option<LogId>, StoredMembership) {
        let state = self.read();
        (state.last_applied, state.membership.clone())
    }

    /// Applies one command.
    ///
    /// # Errors
    /// The command raises the rules to a level that this program does not know. It has to stop: the others go
    /// on by rules that it can't follow.
    pub(super) fn apply_command(&self, log_id: LogId, proposal: &Proposal) -> io::Result<Response> {
        let index = log_id.index();
        // Decoding needs no lock. Bytes that don't decode are the same on every node, so every node refuses.
        let envelope = Envelope::decode(&proposal.body);
        if let Some(level) =
            envelope.as_ref().ok().and_then(|envelope| Cache::level_beyond(&envelope.command))
        {
            let reason = format!(
                "entry {index} raises the feature level to {level}, this program knows up to {FEATURE_LEVEL}: update it"
            );
            return Err(io::Error::other(reason));
        }
        // A leader that tells of no reads, or of unreadable ones, tells every node the same.
        let touches = decode_touches(&proposal.touches).unwrap_or_default();
        #[cfg(feature = "sabotage")]
        let touches = forget_some(touches, index);
        let mut state = self.write();
        let response = match envelope {
            Ok(Envelope { idempotency_key, command }) => {
                let stamp = Stamp { index, at_ms: proposal.at_ms, idempotency_key, touches };
                let applied = state.cache.apply(stamp, command);
                Response { result: applied.outcome, replayed: applied.replayed }
            }
            Err(error) => {
                state.cache.advance(index);
                let refusal =
                    CommandError::Invalid { op: None, field: "command".into(), reason: error.to_string() };
                Response { result: Err(refusal), replayed: false }
            }
        };
        state.applied_one(log_id);
        drop(state);
        self.clock.observe(proposal.at_ms);
        Ok(response)
    }

    /// Applies an entry that holds no command.
    pub(super) fn apply_other(&self, log_id: LogId, membership: Option<StoredMembership>) {
        let mut state = self.write();
        state.cache.advance(log_id.index());
        if let Some(membership) = membership {
            state.membership = membership;
        }
        state.applied_one(log_id);
    }

    /// Tells those who wait how far we are; called once for many entries.
    pub(super) fn announce(&self) {
        if let Some(log_id) = self.read().last_applied {
            self.applied.send_replace(log_id.index());
        }
    }

    pub(super) fn picture(&self) -> Picture {
        let state = self.read();
        Picture {
            frozen: state.cache.freeze(),
            last_applied: state.last_applied,
            membership: state.membership.clone(),
        }
    }

    /// Puts a snapshot's state in place of ours.
    pub(super) fn replace(&self, cache: Cache, last_applied: Option<LogId>, membership: StoredMembership) {
        self.clock.observe(cache.now_ms());
        let mut state = self.write();
        let digests = VecDeque::with_capacity(DIGESTS_KEPT);
        // The old state is dropped after the lock is given back: freeing a large cache takes a while.
        let old = std::mem::replace(
            &mut *state,
            State { cache, last_applied, membership, digests, checkpoints: VecDeque::new() },
        );
        state.note_digest();
        drop(state);
        drop(old);
        self.announce();
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect("apply does not panic")
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().expect("apply does not panic")
    }
}

/// A lie for the consistency tests: one in four touches never came.
#[cfg(feature = "sabotage")]
fn forget_some(mut touches: Vec<crate::cache::Touch>, index: u64) -> Vec<crate::cache::Touch> {
    if crate::sabotage::Sabotage::ForgetTouch.is_chosen() {
        let mut position = index;
        touches.retain(|_| {
            position += 1;
            !position.is_multiple_of(4)
        });
    }
    touches
}

impl State {
    fn applied_one(&mut self, log_id: LogId) {
        self.last_applied = Some(log_id);
        self.note_digest();
    }

    fn note_digest(&mut self) {
        if self.digests.len() == DIGESTS_KEPT {
            self.digests.pop_front();
        }
        let pair = (self.cache.index(), self.cache.digest());
        self.digests.push_back(pair);
        if pair.0.is_multiple_of(CHECKPOINT_EVERY) {
            if self.checkpoints.len() == CHECKPOINTS_KEPT {
                self.checkpoints.pop_front();
            }
            self.checkpoints.push_back(pair);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Command;

    fn proposal(command: Command) -> Proposal {
        let body = Envelope { idempotency_key: None, command }.encode();
        Proposal { at_ms: 1, touches: bytes::Bytes::new(), body }
    }

    /// C11: rules that this program does not know stop it before it could differ from those that do.
    #[test]
    fn a_later_feature_level_stops_this_node() {
        let replica = Replica::new(Arc::new(LogClock::default()));
        let at = |index| LogId::new(1.into(), index);
        let level = FEATURE_LEVEL;
        assert!(replica.apply_command(at(1), &proposal(Command::RaiseFeatureLevel { level })).is_ok());
        let before = replica.with_cache(Cache::digest);
        let later = proposal(Command::RaiseFeatureLevel { level: level + 1 });
        let error = replica.apply_command(at(2), &later).unwrap_err().to_string();
        assert!(error.contains("entry 2 raises the feature level to 2"), "{error}");
        assert_eq!(replica.with_cache(Cache::digest), before, "nothing was applied");
    }
}
