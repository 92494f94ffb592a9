//! This node's copy of the state: the cache, how far it is applied, and its recent digests. `apply` writes
//! it, everybody else reads it.

use super::applied_index::AppliedIndex;
use super::apply_times::{ApplyStats, ApplyTimes};
use super::clock::LogClock;
use super::codec::CodecError;
use super::digests::DigestHistory;
use super::envelope::{Envelope, decode_touches};
use super::feed::{Change as Visible, Feed};
use super::membership::{LogPosition, Membership, StoredMembership};
use super::proposal::{Proposal, Response};
use super::recent::{Operation, RECENT_MAX};
use crate::cache::{Cache, CacheConfig, Command, Digest, Outcome, SnapshotView, Stamp, Touch};
use std::io;
use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::time::Instant;
use tokio::sync::watch;

/// The state and those who wait for it to move.
pub struct Replica {
    state: RwLock<State>,
    applied: AppliedIndex,
    /// The same index, for those who follow every step.
    steps: watch::Sender<u64>,
    apply_times: ApplyTimes,
    clock: Arc<LogClock>,
    feed: Arc<Feed>,
    /// The newest feature level that this node knows.
    feature_level: u32,
}

struct State {
    cache: Cache,
    last_applied: Option<LogPosition>,
    membership: StoredMembership,
    digests: DigestHistory,
}

/// A log entry that is committed, to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub position: LogPosition,
    pub content: Content,
}

/// What a log entry holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing: a leader's first entry.
    Blank,
    Command(Proposal),
    Membership(Membership),
}

/// A still picture of the state, for a snapshot.
pub struct Picture {
    pub frozen: SnapshotView,
    pub last_applied: Option<LogPosition>,
    pub membership: StoredMembership,
    /// The newest operations, newest first.
    pub recent: Vec<Operation>,
}

impl Replica {
    /// An empty state; what it applies goes into the feed. It follows the log up to `feature_level`.
    pub fn new(clock: Arc<LogClock>, feed: Arc<Feed>, feature_level: u32) -> Self {
        let state = State {
            cache: Cache::new(CacheConfig::default()),
            last_applied: None,
            membership: StoredMembership::default(),
            digests: DigestHistory::default(),
        };
        Self {
            state: RwLock::new(state),
            applied: AppliedIndex::default(),
            steps: watch::Sender::new(0),
            apply_times: ApplyTimes::default(),
            clock,
            feed,
            feature_level,
        }
    }

    /// Looks at the cache. Short: `apply` waits meanwhile.
    pub fn with_cache<T>(&self, look: impl FnOnce(&Cache) -> T) -> T {
        look(&self.read().cache)
    }

    /// Refuses a state of rules that this node does not know.
    ///
    /// # Errors
    /// What to do.
    pub fn check_level(&self, cache: &Cache) -> io::Result<()> {
        let (level, known) = (cache.feature_level(), self.feature_level);
        if level > known {
            let reason = format!(
                "the snapshot has feature level {level}, and this program knows up to {known}: run a later version of Lockstep"
            );
            return Err(io::Error::other(reason));
        }
        Ok(())
    }

    /// What was applied lately.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// The newest (index, digest) pairs, oldest first.
    pub fn digests(&self) -> Vec<(u64, Digest)> {
        self.read().digests.newest()
    }

    /// The (index, digest) pairs to compare with another node's, oldest first.
    pub fn comparable(&self) -> Vec<(u64, Digest)> {
        self.read().digests.comparable()
    }

    /// Whether the membership that is applied here, and so committed, has a node.
    pub fn has_member(&self, id: u64) -> bool {
        self.read().membership.membership.members.contains_key(&id)
    }

    /// Makes this replica differ from the others, for tests of those who compare them.
    #[doc(hidden)]
    pub fn corrupt(&self) {
        self.write().cache.corrupt();
    }

    /// Index of the last applied entry.
    pub fn applied_index(&self) -> u64 {
        self.applied.get()
    }

    /// How long `apply` kept readers waiting.
    pub fn apply_stats(&self) -> ApplyStats {
        self.apply_times.stats()
    }

    /// Returns once the entry at `index` is applied.
    pub async fn applied(&self, index: u64) {
        self.applied.reached(index).await;
    }

    /// A receiver of the applied index.
    pub fn watch_applied(&self) -> watch::Receiver<u64> {
        self.steps.subscribe()
    }

    pub fn applied_state(&self) -> (Option<LogPosition>, StoredMembership) {
        let state = self.read();
        (state.last_applied, state.membership.clone())
    }

    /// Applies entries in their order, then tells those who wait how far we are. One lock is taken for all of
    /// them, so they should be few. The answers are those of the entries that were applied: all of them,
    /// unless there is an error.
    ///
    /// # Errors
    /// An entry cannot be read, or raises the rules to a level that this program does not know. It has to stop before
    /// it: the others go on by what it can't follow.
    pub fn apply(&self, entries: Vec<Committed>) -> (Vec<Response>, io::Result<()>) {
        // Decoding needs no lock.
        let mut steps = Vec::with_capacity(entries.len());
        let mut outcome = Ok(());
        for entry in entries {
            match Step::of(entry, self.feature_level) {
                Ok(step) => steps.push(step),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        let Some(last) = steps.last().map(|step| step.position) else { return (Vec::new(), outcome) };
        let latest_ms = steps.iter().filter_map(Step::at_ms).max();
        let mut changes = Vec::with_capacity(steps.len());
        self.with_cache(|cache| cache.prefetch(steps.iter().filter_map(Step::command)));
        let mut state = self.write();
        let begun = Instant::now();
        let responses = steps.into_iter().map(|step| state.apply(step, &mut changes)).collect();
        // With the state, so that nobody sees one without the other.
        let forgotten = self.feed.extend(changes, last.index);
        drop(state);
        self.apply_times.note(begun.elapsed());
        drop(forgotten);
        if let Some(latest_ms) = latest_ms {
            self.clock.observe(latest_ms);
        }
        self.note_applied(last.index);
        (responses, outcome)
    }

    fn announce(&self) {
        if let Some(position) = self.read().last_applied {
            self.note_applied(position.index);
        }
    }

    fn note_applied(&self, index: u64) {
        self.applied.set(index);
        self.steps.send_replace(index);
    }

    pub fn picture(&self) -> Picture {
        let state = self.read();
        Picture {
            frozen: state.cache.snapshot_view(),
            last_applied: state.last_applied,
            membership: state.membership.clone(),
            recent: self.feed.recent(RECENT_MAX),
        }
    }

    /// Puts a snapshot's state in place of ours.
    pub fn replace(
        &self,
        cache: Cache,
        last_applied: Option<LogPosition>,
        membership: StoredMembership,
        recent: Vec<Operation>,
    ) {
        self.clock.observe(cache.now_ms());
        let mut state = self.write();
        // The old state is dropped after the lock is given back: freeing a large cache takes a while.
        let old = std::mem::replace(
            &mut *state,
            State { cache, last_applied, membership, digests: DigestHistory::default() },
        );
        state.note_digest();
        self.feed.restart(state.cache.index(), recent);
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

/// An entry, decoded.
struct Step {
    position: LogPosition,
    change: Change,
}

enum Change {
    Command { at_ms: u64, by: u64, envelope: Envelope, touches: Vec<Touch> },
    Membership(StoredMembership),
    Blank,
}

impl Step {
    fn of(entry: Committed, known_level: u32) -> io::Result<Self> {
        let position = entry.position;
        let change = match entry.content {
            Content::Blank => Change::Blank,
            Content::Membership(membership) => {
                Change::Membership(StoredMembership { position: Some(position), membership })
            }
            Content::Command(proposal) => Self::change_of(position.index, &proposal, known_level)?,
        };
        Ok(Self { position, change })
    }

    /// Log time, where the entry has one.
    fn at_ms(&self) -> Option<u64> {
        match &self.change {
            Change::Command { at_ms, .. } => Some(*at_ms),
            _ => None,
        }
    }

    /// The command, where there is one.
    fn command(&self) -> Option<&Command> {
        match &self.change {
            Change::Command { envelope, .. } => Some(&envelope.command),
            _ => None,
        }
    }

    fn change_of(index: u64, proposal: &Proposal, known_level: u32) -> io::Result<Change> {
        // What is committed counts on all nodes. One that skipped an entry it cannot read would differ from those that
        // can, and one that is replayed by an older program would lose what was acknowledged.
        let unreadable = |error: CodecError| {
            let reason = format!(
                "entry {index} of the log cannot be read: {error}; run the version of Lockstep that wrote it, or a later one"
            );
            io::Error::new(io::ErrorKind::InvalidData, reason)
        };
        let envelope = Envelope::decode(&proposal.body).map_err(unreadable)?;
        let level = match envelope.command {
            Command::RaiseFeatureLevel { level } => level,
            ref command => command.level(),
        };
        if level > known_level {
            let reason = format!(
                "entry {index} needs feature level {level}, and this program knows up to {known_level}: run a later \
                 version of Lockstep"
            );
            return Err(io::Error::other(reason));
        }
        let touches = decode_touches(&proposal.touches).map_err(unreadable)?;
        #[cfg(feature = "sabotage")]
        let touches = forget_some(touches, index);
        Ok(Change::Command { at_ms: proposal.at_ms, by: proposal.by, envelope, touches })
    }
}

impl State {
    fn apply(&mut self, Step { position, change }: Step, changes: &mut Vec<Visible>) -> Response {
        let index = position.index;
        let response = match change {
            Change::Command { at_ms, by, envelope: Envelope { idempotency_key, command }, touches } => {
                let applied = self.cache.apply(Stamp { index, at_ms, idempotency_key, touches }, command);
                if !applied.events.is_empty() {
                    changes.push(Visible::new(index, self.cache.now_ms(), by, applied.events));
                }
                Response { result: applied.outcome, replayed: applied.replayed }
            }
            Change::Membership(membership) => {
                self.cache.advance(index);
                self.membership = membership;
                done()
            }
            Change::Blank => {
                self.cache.advance(index);
                done()
            }
        };
        self.last_applied = Some(position);
        self.note_digest();
        response
    }

    fn note_digest(&mut self) {
        self.digests.note(self.cache.index(), self.cache.digest());
    }
}

/// What a proposer of an entry without a command is told.
fn done() -> Response {
    Response { result: Ok(Outcome::Ticked), replayed: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::limits::FEATURE_LEVEL;

    fn committed(index: u64, proposal: Proposal) -> Committed {
        Committed { position: LogPosition { term: 1, index }, content: Content::Command(proposal) }
    }

    fn entry(index: u64, command: Command) -> Committed {
        let body = Envelope { idempotency_key: None, command }.encode();
        let proposal = Proposal { at_ms: 1, by: 0, touches: bytes::Bytes::new(), body };
        committed(index, proposal)
    }

    /// C11: an entry that cannot be read stops the node, and is never skipped.
    #[test]
    fn an_unreadable_entry_stops_this_node() {
        let replica = Replica::new(Arc::new(LogClock::default()), Arc::new(Feed::new(0)), FEATURE_LEVEL);
        let good = Envelope { idempotency_key: None, command: Command::Tick }.encode();
        let mut later = good.to_vec();
        later[0] += 1;
        let raw = |index, touches: &'static [u8], body: bytes::Bytes| {
            let proposal = Proposal { at_ms: 1, by: 0, touches: bytes::Bytes::from_static(touches), body };
            committed(index, proposal)
        };
        for bad in
            [raw(2, b"", later.into()), raw(2, b"", bytes::Bytes::new()), raw(2, b"\xff\xff", good.clone())]
        {
            let (_, outcome) = replica.apply(vec![bad]);
            let error = outcome.unwrap_err().to_string();
            assert!(error.contains("entry 2 of the log cannot be read"), "{error}");
            assert_eq!(replica.applied_index(), 0, "nothing was applied");
        }
        assert!(replica.apply(vec![raw(1, b"", good)]).1.is_ok());
    }

    /// C11: rules that this program does not know stop it before it could differ from those that do.
    #[test]
    fn a_later_feature_level_stops_this_node() {
        let replica = Replica::new(Arc::new(LogClock::default()), Arc::new(Feed::new(0)), FEATURE_LEVEL);
        let raise = |index, level| entry(index, Command::RaiseFeatureLevel { level });
        let level = FEATURE_LEVEL;
        let (responses, outcome) = replica.apply(vec![raise(1, level), raise(2, level + 1), raise(3, level)]);
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("entry 2 needs feature level"), "{error}");
        assert_eq!(responses.len(), 1, "the one before is answered");
        assert_eq!(
            (replica.applied_index(), replica.with_cache(Cache::index)),
            (1, 1),
            "nothing more applied"
        );
        let before = replica.with_cache(Cache::digest);
        let (responses, outcome) = replica.apply(vec![raise(2, level + 1)]);
        assert!(responses.is_empty() && outcome.is_err());
        assert_eq!(replica.with_cache(Cache::digest), before, "nothing was applied");
    }
}
