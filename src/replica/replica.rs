//! This node's copy of the replicated state: the cache, the position of the last applied entry, the membership and the
//! recent digests. Only `apply` and the installation of a snapshot write it; all other code reads it.

use super::applied_index::AppliedIndex;
use super::apply_times::{ApplyStats, ApplyTimes};
use super::change_log::{ChangeLog, ChangeSet};
use super::client_names::ClientNames;
use super::clock::LogClock;
use super::codec::CodecError;
use super::contention::Contention;
use super::digests::DigestHistory;
use super::envelope::{Envelope, decode_touches};
use super::membership::{LogPosition, Membership, StoredMembership};
use super::operation::{Operation, RECENT_MAX};
use super::proposal::{Proposal, Response};
use crate::cache::{Cache, CacheConfig, Command, Digest, Key, Outcome, SnapshotView, Stamp, Touch};
use crate::lineage::TermStarts;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// About how long `apply` keeps readers waiting at most. Most entries take a microsecond, those that expire, free or evict a
/// lot take a millisecond each.
const LOCK_TIME_MAX: Duration = Duration::from_millis(1);
/// How many small entries are applied between two looks at the clock.
const ENTRIES_BETWEEN_LOOKS: usize = 4;

/// The replicated state, and a channel that announces the applied index.
pub struct Replica {
    state: RwLock<State>,
    applied: AppliedIndex,
    /// The same index, for those who follow every step.
    steps: watch::Sender<u64>,
    apply_times: ApplyTimes,
    contention: Contention,
    clock: Arc<LogClock>,
    change_log: Arc<ChangeLog>,
    /// Index of the log entry that last changed a token; 0 if none ever did.
    tokens: watch::Sender<u64>,
    has_tokens: AtomicBool,
    /// The newest feature level that this node knows.
    feature_level: u32,
}

pub(super) struct State {
    pub cache: Cache,
    pub last_applied: Option<LogPosition>,
    pub membership: StoredMembership,
    /// The terms of the entries up to the last applied one.
    pub terms: TermStarts,
    pub digests: DigestHistory,
}

/// A committed log entry, to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub position: LogPosition,
    pub content: Content,
}

/// The content of a log entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing: the first entry of a leader's term.
    Blank,
    Command(Proposal),
    Membership(Membership),
}

/// The state at one index, for a snapshot. It does not change when later entries are applied.
pub struct ReplicaSnapshot {
    pub cache: SnapshotView,
    pub last_applied: Option<LogPosition>,
    pub membership: StoredMembership,
    pub terms: TermStarts,
    /// The newest operations, newest first.
    pub recent: Vec<Operation>,
}

impl Replica {
    /// An empty state. It appends the changes that it applies to `change_log`, and stops at an entry that needs a
    /// feature level above `feature_level`.
    pub fn new(clock: Arc<LogClock>, change_log: Arc<ChangeLog>, feature_level: u32) -> Self {
        let state = State {
            cache: Cache::new(CacheConfig::default()),
            last_applied: None,
            membership: StoredMembership::default(),
            terms: TermStarts::default(),
            digests: DigestHistory::default(),
        };
        Self {
            state: RwLock::new(state),
            applied: AppliedIndex::default(),
            steps: watch::Sender::new(0),
            apply_times: ApplyTimes::default(),
            contention: Contention::default(),
            clock,
            change_log,
            tokens: watch::Sender::new(0),
            has_tokens: AtomicBool::new(false),
            feature_level,
        }
    }

    /// Reads the cache. `read` must be short, because `apply` waits for the lock.
    pub fn with_cache<T>(&self, read: impl FnOnce(&Cache) -> T) -> T {
        read(&self.read().cache)
    }

    /// Whether requests need a token.
    pub fn has_tokens(&self) -> bool {
        self.has_tokens.load(Relaxed)
    }

    /// A receiver of the index of the log entry that last changed a token.
    pub fn watch_tokens(&self) -> watch::Receiver<u64> {
        self.tokens.subscribe()
    }

    /// Announces what the state has; the caller holds its lock, so that no reader sees one without the other.
    fn note_tokens(&self, state: &State) {
        let tokens = state.cache.tokens();
        self.has_tokens.store(tokens.are_required(), Relaxed);
        self.tokens
            .send_if_modified(|known| std::mem::replace(known, tokens.revision()) != tokens.revision());
    }

    /// Refuses a state that needs a later feature level than this node knows.
    ///
    /// # Errors
    /// A sentence that tells the operator what to do.
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

    /// The latest changes.
    pub fn change_log(&self) -> &ChangeLog {
        &self.change_log
    }

    /// The newest (index, digest) pairs, oldest first.
    pub fn digests(&self) -> Vec<(u64, Digest)> {
        self.read().digests.newest()
    }

    /// The (index, digest) pairs to compare with another node's, oldest first.
    pub fn comparable(&self) -> Vec<(u64, Digest)> {
        self.read().digests.comparable()
    }

    /// Whether the applied, and therefore committed, membership contains a node.
    pub fn has_member(&self, id: u64) -> bool {
        self.read().membership.membership.members.contains_key(&id)
    }

    /// Makes this replica differ from the others, to test the audit that compares them.
    #[doc(hidden)]
    pub fn corrupt(&self) {
        self.write().cache.corrupt();
    }

    /// Position of the last applied entry.
    pub fn last_applied(&self) -> Option<LogPosition> {
        self.read().last_applied
    }

    /// The terms of the applied entries.
    pub fn terms(&self) -> TermStarts {
        self.read().terms.clone()
    }

    /// Index of the last applied entry.
    pub fn applied_index(&self) -> u64 {
        self.applied.get()
    }

    /// How long `apply` kept readers waiting.
    pub fn apply_stats(&self) -> ApplyStats {
        self.apply_times.stats()
    }

    /// How long turns take among nodes whose writes on a key get into each other's way, at this log time, in milliseconds; `None` where
    /// none do.
    pub fn turn_ms(&self, key: &Key, now_ms: u64) -> Option<u64> {
        self.contention.turn_ms(key, now_ms)
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

    /// Decodes entries, and loads what they need into the processor's caches. Returns those before the first one that cannot
    /// be applied.
    ///
    /// # Errors
    /// An entry cannot be decoded, or needs a feature level that this program does not know. The node must stop before that
    /// entry: the other nodes apply it, so this one would differ from them.
    pub fn decode(&self, entries: Vec<Committed>) -> (DecodedEntries, io::Result<()>) {
        let mut decoded = VecDeque::with_capacity(entries.len());
        let mut outcome = Ok(());
        for entry in entries {
            match DecodedEntry::decode(entry, self.feature_level) {
                Ok(entry) => decoded.push_back(entry),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        self.with_cache(|cache| cache.prefetch(decoded.iter().filter_map(DecodedEntry::command)));
        (DecodedEntries(decoded), outcome)
    }

    /// Applies entries in order, under one write lock, until all are applied or readers have waited for a millisecond; then
    /// announces the new applied index. Takes what it has applied out of `entries`, and returns the responses.
    pub fn apply(&self, DecodedEntries(entries): &mut DecodedEntries) -> Vec<Response> {
        let (mut changes, mut responses) = (Vec::new(), Vec::with_capacity(entries.len()));
        let mut latest_ms = None;
        let mut state = self.write();
        let tokens_before = state.cache.tokens().revision();
        let begun = Instant::now();
        while let Some(entry) = entries.pop_front() {
            latest_ms = latest_ms.max(entry.at_ms());
            let is_small = entry.is_small();
            let place = entry.command().and_then(Contention::place);
            let response = state.apply(entry, &mut changes);
            if let Some(place) = place {
                self.contention.note(place, &response.result, state.cache.now_ms());
            }
            responses.push(response);
            // A look takes a part of the time that a small entry takes.
            let is_due = !is_small || responses.len().is_multiple_of(ENTRIES_BETWEEN_LOOKS);
            if is_due && begun.elapsed() >= LOCK_TIME_MAX {
                break;
            }
        }
        // Under the same lock as the state, so that no reader sees one without the other.
        let applied = state.last_applied.map_or(0, |last| last.index);
        let removed = self.change_log.extend(changes, applied);
        if state.cache.tokens().revision() > tokens_before {
            self.note_tokens(&state);
        }
        drop(state);
        self.apply_times.note(begun.elapsed());
        drop(removed);
        if let Some(latest_ms) = latest_ms {
            self.clock.observe(latest_ms);
        }
        self.note_applied(applied);
        responses
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

    /// The state at the last applied entry, for a snapshot.
    pub fn snapshot(&self) -> ReplicaSnapshot {
        let state = self.read();
        ReplicaSnapshot {
            cache: state.cache.snapshot_view(),
            last_applied: state.last_applied,
            membership: state.membership.clone(),
            terms: state.terms.clone(),
            recent: self.change_log.recent(RECENT_MAX),
        }
    }

    /// Replaces the state with that of a snapshot.
    pub fn replace(
        &self,
        cache: Cache,
        last_applied: Option<LogPosition>,
        membership: StoredMembership,
        terms: TermStarts,
        recent: Vec<Operation>,
    ) {
        self.clock.observe(cache.now_ms());
        let mut state = self.write();
        // Drop the old state only after releasing the lock: freeing a large cache takes a while.
        let old = std::mem::replace(
            &mut *state,
            State { cache, last_applied, membership, terms, digests: DigestHistory::default() },
        );
        state.record_digest();
        self.note_tokens(&state);
        self.change_log.restart(state.cache.index(), recent);
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

/// A fault for the consistency tests: drops one in four touches.
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

/// Entries that are to be applied next.
pub struct DecodedEntries(VecDeque<DecodedEntry>);

impl DecodedEntries {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A log entry, decoded.
pub(super) struct DecodedEntry {
    position: LogPosition,
    payload: Payload,
}

enum Payload {
    Command { at_ms: u64, by: u64, envelope: Envelope, touches: Vec<Touch> },
    Membership(StoredMembership),
    Blank,
}

impl DecodedEntry {
    pub fn decode(entry: Committed, known_level: u32) -> io::Result<Self> {
        let position = entry.position;
        let payload = match entry.content {
            Content::Blank => Payload::Blank,
            Content::Membership(membership) => {
                Payload::Membership(StoredMembership { position: Some(position), membership })
            }
            Content::Command(proposal) => Self::decode_command(position.index, &proposal, known_level)?,
        };
        Ok(Self { position, payload })
    }

    /// The entry's log time, if it has one.
    fn at_ms(&self) -> Option<u64> {
        match &self.payload {
            Payload::Command { at_ms, .. } => Some(*at_ms),
            _ => None,
        }
    }

    /// Whether it is one operation, and counts no reads.
    fn is_small(&self) -> bool {
        matches!(&self.payload, Payload::Command { envelope, touches, .. }
            if touches.is_empty() && matches!(envelope.command, Command::One(_)))
    }

    /// The entry's command, if it has one.
    pub fn command(&self) -> Option<&Command> {
        match &self.payload {
            Payload::Command { envelope, .. } => Some(&envelope.command),
            _ => None,
        }
    }

    fn decode_command(index: u64, proposal: &Proposal, known_level: u32) -> io::Result<Payload> {
        // A committed entry takes effect on all nodes. A node that skipped an entry it cannot decode would differ from
        // those that can, and an older program that replays the log would lose acknowledged writes.
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
        Ok(Payload::Command { at_ms: proposal.at_ms, by: proposal.by, envelope, touches })
    }
}

impl State {
    pub fn apply(&mut self, entry: DecodedEntry, changes: &mut Vec<ChangeSet>) -> Response {
        let DecodedEntry { position, payload } = entry;
        let index = position.index;
        let response = match payload {
            Payload::Command { at_ms, by, envelope, touches } => {
                let Envelope { idempotency_key, origin, command } = envelope;
                let names =
                    ClientNames::of(origin.as_deref(), idempotency_key.as_ref().map(|key| key.text.as_str()));
                let stamp = Stamp { index, at_ms, idempotency_key, origin, touches };
                let applied = self.cache.apply(stamp, command);
                if !applied.events.is_empty() {
                    changes.push(ChangeSet::new(index, self.cache.now_ms(), by, names, applied.events));
                }
                Response { result: applied.outcome, replayed: applied.replayed }
            }
            Payload::Membership(membership) => {
                self.cache.advance(index);
                self.cache.note_members(|node| membership.membership.members.contains_key(&node));
                self.membership = membership;
                done()
            }
            Payload::Blank => {
                self.cache.advance(index);
                done()
            }
        };
        self.terms.note(position.term, index);
        self.last_applied = Some(position);
        self.record_digest();
        response
    }

    fn record_digest(&mut self) {
        self.digests.record(self.cache.index(), self.cache.digest());
    }
}

/// The response to an entry without a command.
fn done() -> Response {
    Response { result: Ok(Outcome::Ticked), replayed: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::limits::FEATURE_LEVEL;
    use crate::cache::{Condition, Key, Op, Ttl, Value};

    fn committed(index: u64, proposal: Proposal) -> Committed {
        Committed { position: LogPosition { term: 1, index }, content: Content::Command(proposal) }
    }

    fn entry(index: u64, command: Command) -> Committed {
        let body = Envelope::from(command).encode();
        let proposal = Proposal { at_ms: 1, by: 0, touches: bytes::Bytes::new(), body };
        committed(index, proposal)
    }

    fn apply(replica: &Replica, entries: Vec<Committed>) -> (Vec<Response>, io::Result<()>) {
        let (mut decoded, outcome) = replica.decode(entries);
        let mut responses = Vec::new();
        while !decoded.is_empty() {
            responses.extend(replica.apply(&mut decoded));
        }
        (responses, outcome)
    }

    /// C11: an entry that cannot be decoded stops the node, and is never skipped.
    #[test]
    fn an_unreadable_entry_stops_this_node() {
        let replica = Replica::new(Arc::new(LogClock::default()), Arc::new(ChangeLog::new(0)), FEATURE_LEVEL);
        let good = Envelope::from(Command::Tick).encode();
        let mut later = good.to_vec();
        later[0] += 1;
        let raw = |index, touches: &'static [u8], body: bytes::Bytes| {
            let proposal = Proposal { at_ms: 1, by: 0, touches: bytes::Bytes::from_static(touches), body };
            committed(index, proposal)
        };
        for bad in
            [raw(2, b"", later.into()), raw(2, b"", bytes::Bytes::new()), raw(2, b"\xff\xff", good.clone())]
        {
            let (_, outcome) = apply(&replica, vec![bad]);
            let error = outcome.unwrap_err().to_string();
            assert!(error.contains("entry 2 of the log cannot be read"), "{error}");
            assert_eq!(replica.applied_index(), 0, "nothing was applied");
        }
        assert!(apply(&replica, vec![raw(1, b"", good)]).1.is_ok());
    }

    /// Readers wait for a few large entries, not for all that are there.
    #[test]
    fn the_lock_is_given_back_in_between() {
        let replica = Replica::new(Arc::new(LogClock::default()), Arc::new(ChangeLog::new(0)), FEATURE_LEVEL);
        let put = |number: u64| Op::Put {
            key: Key::new(&format!("k{number}")).expect("a key"),
            value: Value { bytes: "v".into(), content_type: None },
            ttl: Ttl::Never,
            condition: Condition::Always,
            previous: false,
        };
        let batch =
            |index| entry(index, Command::Batch((0..1_000).map(|at| put(1_000 * index + at)).collect()));
        let (mut decoded, outcome) = replica.decode((1..=9).map(batch).collect());
        outcome.expect("they can be applied");
        while !decoded.is_empty() {
            let before = replica.applied_index();
            let responses = replica.apply(&mut decoded).len() as u64;
            assert!(responses <= 4, "five thousand puts take longer than a millisecond");
            let applied = replica.applied_index();
            assert_eq!((applied, replica.with_cache(Cache::len)), (before + responses, 1_000 * applied));
        }
        assert_eq!(replica.applied_index(), 9);
    }

    /// C11: an unknown feature level stops this program before it could differ from those that know it.
    #[test]
    fn a_later_feature_level_stops_this_node() {
        let replica = Replica::new(Arc::new(LogClock::default()), Arc::new(ChangeLog::new(0)), FEATURE_LEVEL);
        let raise = |index, level| entry(index, Command::RaiseFeatureLevel { level });
        let level = FEATURE_LEVEL;
        let (responses, outcome) =
            apply(&replica, vec![raise(1, level), raise(2, level + 1), raise(3, level)]);
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("entry 2 needs feature level"), "{error}");
        assert_eq!(responses.len(), 1, "the entry before it is answered");
        assert_eq!(
            (replica.applied_index(), replica.with_cache(Cache::index)),
            (1, 1),
            "nothing more applied"
        );
        let before = replica.with_cache(Cache::digest);
        let (responses, outcome) = apply(&replica, vec![raise(2, level + 1)]);
        assert!(responses.is_empty() && outcome.is_err());
        assert_eq!(replica.with_cache(Cache::digest), before, "nothing was applied");
    }
}
