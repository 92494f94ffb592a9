//! Decides what becomes of local changes: sent, dropped, or left to the application.

use super::cluster::{FoundKey, KeyState};
use super::decide::{
    BaseState, ChangeKind, ClockState, Decision, LocalChange, Policy, Question, RemoteState, Verdict, decide,
};
use super::hash::hash_of;
use super::local::How;
use super::pull::cause_of;
use super::record::{BatchItem, Intent};
use super::state::{Core, Remote, Shared, intent_hash};
use super::turn::Turn;
use super::types::{
    ChangeCause, ChangeOrigin, Conflict, DecidedConflict, LocalSide, RemoteSide, Resolution, SyncChange,
    SyncError, SyncValue, Winner,
};
use futures::FutureExt;
use std::panic::AssertUnwindSafe;

/// A local change and what it meets, at one moment.
#[derive(Clone)]
struct Case {
    key: String,
    intent: Intent,
    remote: Remote,
    decision: Decision,
}

impl Shared {
    /// The operation for the local change of a key; `None` if there is nothing to send.
    pub(super) async fn item_for(
        &self,
        core: &mut Core,
        key: &str,
        turn: &mut Turn,
    ) -> Result<Option<BatchItem>, SyncError> {
        let Some(intent) = core.record(key).and_then(|record| record.intent.clone()) else { return Ok(None) };
        let Some(remote) = self.seen(core, key) else { return Ok(None) };
        let left = intent.ttl_ms.map(|ttl_ms| self.left_ms(core, &intent, ttl_ms));
        if left.is_some_and(|left| left <= 0) {
            self.lapse(core, key, turn).await?;
            return Ok(None);
        }
        let decision = self.decide(core, key, &intent, &remote);
        let case = Case { key: key.to_owned(), intent, remote, decision };
        if decision.conflict && decision.verdict != Verdict::Ask {
            count(core, key, &case.remote);
        }
        match decision.verdict {
            Verdict::Ask => Ok(None),
            Verdict::Same => {
                self.agree(core, &case, turn).await?;
                Ok(None)
            }
            Verdict::Take => {
                let why = match decision.ambiguous {
                    true => "by time, closer than the clocks can tell",
                    false => "by the policy",
                };
                self.concede(core, &case, why, turn).await?;
                Ok(None)
            }
            Verdict::Push => {
                if decision.conflict {
                    self.tell_conflict(core, &case, Winner::Local, "by the policy");
                }
                Ok(Some(item(case, left.and_then(|left| u64::try_from(left).ok()))))
            }
        }
    }

    /// Has the application decide about conflicts, one after the other.
    pub(super) async fn have_resolved(&self, keys: &[String]) -> Result<(), SyncError> {
        for key in keys {
            if self.is_closed() {
                return Err(SyncError::Closed);
            }
            let Some(rules) = self.groups.of(key).filter(|rules| rules.conflict == Policy::Custom) else {
                continue;
            };
            let Some(resolve) = rules.resolve.clone() else { continue };
            let core = self.core.lock().await;
            let intent = core.record(key).and_then(|record| record.intent.clone());
            let (Some(intent), Some(remote)) = (intent, self.seen(&core, key)) else { continue };
            let decision = self.decide(&core, key, &intent, &remote);
            if decision.verdict != Verdict::Ask {
                continue;
            }
            let case = Case { key: key.clone(), intent, remote, decision };
            let conflict = self.describe(&core, &case);
            drop(core);
            // It is the application's, and may take as long as it likes, or panic.
            let asked = AssertUnwindSafe(async { resolve(conflict).await }).catch_unwind();
            let (resolution, why) = match self.unless_closed(asked).await? {
                Ok(Ok(Resolution::Defer)) => (Resolution::Defer, "deferred".to_owned()),
                Ok(Ok(resolution)) => (resolution, "resolve said so".to_owned()),
                Ok(Err(error)) => (Resolution::Defer, format!("resolve failed: {error}")),
                Err(_) => (Resolution::Defer, "resolve panicked".to_owned()),
            };
            self.resolved(&case, resolution, &why).await?;
        }
        Ok(())
    }

    /// What the cluster has, as far as is known here.
    pub(super) fn seen(&self, core: &Core, key: &str) -> Option<Remote> {
        if let Some(remote) = core.noted(key) {
            return Some(remote.clone());
        }
        let base = core.record(key)?.base.as_ref()?;
        let state = match base.revision {
            None => KeyState::Absent { gone: None, as_of: base.at },
            Some(revision) => KeyState::Found(FoundKey {
                revision,
                version: base.version,
                modified_at_ms: base.modified_at_ms,
                origin: None,
                value: None,
            }),
        };
        Some(Remote { state, hash: base.hash.clone() })
    }

    /// Both sides made the same of the key.
    async fn agree(&self, core: &mut Core, case: &Case, turn: &mut Turn) -> Result<(), SyncError> {
        let Case { key, intent, remote, .. } = case;
        let everywhere = self.groups.of(key).is_some_and(|rules| rules.mirrors());
        let how = How { everywhere, ..How::default() };
        let value = intent.value.as_ref();
        // A change that nobody noted is the next one.
        self.put(core, key, value, how).await?;
        let base = remote.base(value.map(hash_of), core.journal.history());
        let record = core.journal.record(key);
        record.base = Some(base);
        record.intent.take_if(|now| now == intent);
        core.notes.remove(key);
        turn.touched.insert(key.clone());
        Ok(())
    }

    /// The cluster's state stands. The loser is told before it is dropped.
    async fn concede(
        &self,
        core: &mut Core,
        case: &Case,
        why: &str,
        turn: &mut Turn,
    ) -> Result<(), SyncError> {
        let Case { key, intent, remote, .. } = case;
        self.tell_conflict(core, case, Winner::Remote, why);
        if self.settle(core, key, remote.clone(), cause_of(remote), turn).await? {
            core.journal.record(key).intent.take_if(|now| now == intent);
        }
        turn.touched.insert(key.clone());
        Ok(())
    }

    /// The TTL of a local change has passed before it was sent.
    async fn lapse(&self, core: &mut Core, key: &str, turn: &mut Turn) -> Result<(), SyncError> {
        if !self.put(core, key, None, How::default()).await? {
            return Ok(());
        }
        let record = core.journal.record(key);
        record.intent = None;
        // What the cluster has may be newer than what the caches had before: it is read again.
        if let Some(base) = &mut record.base {
            (base.hash, base.at) = (None, 0);
        }
        core.notes.remove(key);
        turn.touched.insert(key.to_owned());
        self.want_walk();
        let (key, origin) = (key.to_owned(), ChangeOrigin::Local);
        self.tell(SyncChange::Key { key, cause: ChangeCause::Expire, origin, revision: None, value: None });
        Ok(())
    }

    /// Carries out what the application said, unless the key has changed meanwhile.
    async fn resolved(&self, case: &Case, resolution: Resolution, why: &str) -> Result<(), SyncError> {
        let Case { key, intent, remote, .. } = case;
        let mut core = self.core.lock().await;
        let core = &mut *core;
        let is_as_it_was = core.record(key).is_some_and(|record| record.intent.as_ref() == Some(intent))
            && self.seen(core, key).is_some_and(|now| now.state == remote.state);
        if !is_as_it_was {
            return Ok(());
        }
        count(core, key, remote);
        let (winner, value) = match resolution {
            Resolution::Defer => {
                core.note(key).unresolved = Some(why.to_owned());
                self.tell_conflict(core, case, Winner::Deferred, why);
                return Ok(());
            }
            Resolution::Remote => {
                let mut turn = Turn::default();
                self.concede(core, case, why, &mut turn).await?;
                return turn.end(core).await;
            }
            Resolution::Local => (Winner::Local, None),
            Resolution::Delete => (Winner::Merged, None),
            Resolution::Value(value) => (Winner::Merged, Some(value)),
        };
        self.tell_conflict(core, case, winner, why);
        if winner == Winner::Merged {
            // The caches get it while the old intent still explains what they have.
            let everywhere = self.groups.of(key).is_some_and(|rules| rules.mirrors());
            if !self.put(core, key, value.as_ref(), How { everywhere, ..How::default() }).await? {
                return Ok(());
            }
        }
        let seq = core.journal.next_seq();
        let mut next = Intent { seq, ..intent.clone() };
        if winner == Winner::Merged {
            next.kind = if value.is_some() { ChangeKind::Set } else { ChangeKind::Delete };
            (next.by, next.value) = (0, value.clone());
        }
        // From here on the change knows what it replaces.
        let base = remote.base(intent_hash(&next), core.journal.history());
        let record = core.journal.record(key);
        (record.base, record.intent) = (Some(base), Some(next));
        core.note(key).remote = None;
        core.journal.write_key(key).await?;
        if winner == Winner::Merged {
            let cause = if value.is_some() { ChangeCause::Set } else { ChangeCause::Delete };
            let (key, origin) = (key.clone(), ChangeOrigin::Merge);
            self.tell(SyncChange::Key { key, cause, origin, revision: None, value });
        }
        Ok(())
    }

    fn decide(&self, core: &Core, key: &str, intent: &Intent, remote: &Remote) -> Decision {
        let rules = self.groups.of(key);
        let base = core.record(key).and_then(|record| record.base.as_ref());
        let offset = core.offset;
        decide(&Question {
            policy: rules.map_or(Policy::Newest, |rules| rules.conflict),
            deletes: rules.map_or_else(Default::default, |rules| rules.deletes),
            base: match base {
                None => BaseState::Unknown,
                Some(base) => base.revision.map_or(BaseState::AbsentAt(base.at), BaseState::Revision),
            },
            local: LocalChange { kind: intent.kind, at_ms: intent.at_ms, offset_ms: intent.offset_ms },
            remote: match &remote.state {
                KeyState::Absent { gone, .. } => RemoteState::Absent { gone: *gone },
                KeyState::Found(found) => RemoteState::Found {
                    revision: found.revision,
                    modified_at_ms: found.modified_at_ms,
                    equal: is_equal(intent, remote),
                },
            },
            clock: ClockState {
                offset_ms: offset.map_or(0, |offset| offset.offset_ms),
                error_ms: offset.map_or(0, |offset| offset.error_ms),
                now_ms: self.log_now_ms(core),
            },
        })
    }

    /// What is left of the TTL of a local change.
    fn left_ms(&self, core: &Core, intent: &Intent, ttl_ms: u64) -> i64 {
        let ttl_ms = i64::try_from(ttl_ms).unwrap_or(i64::MAX);
        let Some(at_ms) = intent.at_ms else { return ttl_ms };
        // The wall clock may have been set since then. Log time was not, and the clock of this process neither.
        let age_ms = match (intent.offset_ms, intent.made_at.0) {
            (Some(offset_ms), _) if core.offset.is_some() => self.log_now_ms(core) - (at_ms + offset_ms),
            (_, Some(made_at)) => i64::try_from(made_at.elapsed().as_millis()).unwrap_or(i64::MAX),
            _ => self.wall_ms() - at_ms,
        };
        ttl_ms.saturating_sub(age_ms.max(0))
    }

    fn describe(&self, core: &Core, case: &Case) -> Conflict {
        let Case { key, intent, remote, decision } = case;
        let base = core.record(key).and_then(|record| record.base.as_ref());
        let by = (intent.kind == ChangeKind::Add).then(|| SyncValue::of_number(intent.by, None));
        let offset_ms = intent.offset_ms.or(core.offset.map(|offset| offset.offset_ms)).unwrap_or(0);
        let found = remote.found();
        let gone = match remote.state {
            KeyState::Found(_) => None,
            KeyState::Absent { gone, .. } => gone,
        };
        Conflict {
            key: key.clone(),
            group: self.groups.of(key).map(|rules| rules.name.clone()).unwrap_or_default(),
            base: base.map(|base| base.revision),
            local: LocalSide {
                kind: intent.kind,
                value: by.or_else(|| intent.value.clone()),
                at_ms: intent.at_ms.map(|at| at + offset_ms),
            },
            remote: RemoteSide {
                value: remote.value().cloned(),
                revision: found.map(|found| found.revision),
                modified_at_ms: (found.is_some() || gone.is_some()).then(|| remote.modified_at_ms()),
                origin: found.and_then(|found| found.origin.clone()),
                gone,
            },
            ambiguous: decision.ambiguous,
        }
    }

    fn tell_conflict(&self, core: &Core, case: &Case, winner: Winner, why: &str) {
        let conflict = self.describe(core, case);
        (self.options.on_conflict)(&DecidedConflict { conflict, winner, why: why.to_owned() });
    }
}

/// Whether the cluster has what the local change would make, byte for byte.
pub(super) fn is_equal(intent: &Intent, remote: &Remote) -> bool {
    intent.kind == ChangeKind::Set && intent.value.is_some() && intent.value.as_ref() == remote.value()
}

/// The operation that carries out a change against the state that was seen.
fn item(case: Case, ttl_ms: Option<u64>) -> BatchItem {
    let Case { key, intent, remote, .. } = case;
    let found = remote.found().map(|found| found.revision);
    let (is_add, is_delete) = (intent.kind == ChangeKind::Add, intent.kind == ChangeKind::Delete);
    BatchItem {
        if_revision: found.filter(|_| !is_add),
        if_present: found.is_some() && is_add,
        if_absent_since: (found.is_none() && !is_delete).then(|| remote.known_at()),
        key,
        intent,
        ttl_ms,
    }
}

/// Counts a conflict once for each state of the cluster that it is with.
fn count(core: &mut Core, key: &str, remote: &Remote) {
    let index = remote.index().max(1);
    let notes = core.note(key);
    if notes.counted < index {
        notes.counted = index;
        core.conflicts += 1;
    }
}
