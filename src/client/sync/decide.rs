//! What becomes of a local change: a pure function, whose cases all implementations share (`tests/vectors`).

use crate::cache::{Removal, RemovalCause};
use serde::{Deserialize, Serialize};

/// Who wins where both sides changed a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The later change.
    #[default]
    Newest,
    /// The earlier change.
    Oldest,
    /// What the resolve function says.
    Custom,
}

/// A delete against a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deletes {
    #[default]
    ByTime,
    /// The delete always wins.
    Win,
    /// The change always wins.
    Lose,
}

/// What a local change does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    Set,
    Delete,
    /// Adds to a counter.
    Add,
}

/// A local change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalChange {
    pub kind: ChangeKind,
    /// This machine's clock, in milliseconds since 1970; `None`: of unknown age.
    pub at_ms: Option<i64>,
    /// Log time minus that clock when it was made, if that was known.
    pub offset_ms: Option<i64>,
}

/// What the cluster has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteState {
    /// `equal`: the local change would make the same of it, byte for byte.
    Found { revision: u64, modified_at_ms: i64, equal: bool },
    /// How the key went, if it was there and that is remembered.
    Absent { gone: Option<Removal> },
}

/// What both sides last agreed upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseState {
    /// They never did.
    Unknown,
    Revision(u64),
    /// That there was no such key, as of this index.
    AbsentAt(u64),
}

/// Two clocks, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClockState {
    /// Log time minus the local clock.
    pub offset_ms: i64,
    /// How far that may be wrong.
    pub error_ms: i64,
    /// Log time now.
    pub now_ms: i64,
}

/// All that a decision depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    pub policy: Policy,
    pub deletes: Deletes,
    pub base: BaseState,
    pub local: LocalChange,
    pub remote: RemoteState,
    pub clock: ClockState,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Send the local change, guarded by the state that was seen.
    Push,
    /// The cluster's state stands; the local change has lost.
    Take,
    /// Both are equal; there is nothing to send.
    Same,
    /// The application decides.
    Ask,
}

/// A verdict, and what led to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    pub verdict: Verdict,
    /// Both sides changed the key, in different ways.
    pub conflict: bool,
    /// The two times are closer than the clocks can tell. They are compared all the same, exactly.
    pub ambiguous: bool,
    /// The local time was beyond log time now, and was taken as now.
    pub clamped: bool,
}

/// Decides about a key that was changed here. A change of one side only is never a conflict, whatever the clocks say: what it
/// changed it knew. The order of two changes is total, so that every synchronizer comes to the same end.
pub fn decide(question: &Question) -> Decision {
    let Question { base, local, remote, .. } = *question;
    let clear = |verdict| Decision { verdict, conflict: false, ambiguous: false, clamped: false };
    if is_same(local.kind, remote) {
        return clear(Verdict::Same);
    }
    // Sums do not depend on the order.
    let is_sum = local.kind == ChangeKind::Add && matches!(remote, RemoteState::Found { .. });
    if is_unchanged(base, remote) || is_sum {
        return clear(Verdict::Push);
    }
    match remote {
        RemoteState::Found { modified_at_ms, .. } => compare(question, modified_at_ms),
        // Evicting and expiring is no one's wish.
        RemoteState::Absent { gone } => match gone {
            Some(gone) if matches!(gone.cause, RemovalCause::Delete | RemovalCause::Clear) => {
                compare(question, i64::try_from(gone.at_ms).unwrap_or(i64::MAX))
            }
            _ => clear(Verdict::Push),
        },
    }
}

fn is_same(kind: ChangeKind, remote: RemoteState) -> bool {
    match kind {
        ChangeKind::Add => false,
        ChangeKind::Delete => matches!(remote, RemoteState::Absent { .. }),
        ChangeKind::Set => matches!(remote, RemoteState::Found { equal: true, .. }),
    }
}

fn is_unchanged(base: BaseState, remote: RemoteState) -> bool {
    match (base, remote) {
        (BaseState::Revision(agreed), RemoteState::Found { revision, .. }) => agreed == revision,
        (BaseState::AbsentAt(index), RemoteState::Absent { gone }) => {
            gone.is_none_or(|gone| gone.revision <= index)
        }
        _ => false,
    }
}

/// Both sides changed it.
fn compare(question: &Question, remote_at: i64) -> Decision {
    let Question { policy, deletes, local, remote, clock, .. } = *question;
    let shifted = local.at_ms.map(|at| at.saturating_add(local.offset_ms.unwrap_or(clock.offset_ms)));
    let clamped = shifted.is_some_and(|at| at > clock.now_ms);
    let local_at = shifted.map(|at| at.min(clock.now_ms));
    let ambiguous = local_at.is_some_and(|at| at.saturating_sub(remote_at).abs() <= clock.error_ms);
    let told = |verdict| Decision { verdict, conflict: true, ambiguous, clamped };
    if policy == Policy::Custom {
        return told(Verdict::Ask);
    }
    let local_deletes = local.kind == ChangeKind::Delete;
    let is_between_kinds = local_deletes == matches!(remote, RemoteState::Found { .. });
    let local_wins = match (deletes, local_at) {
        (Deletes::Win, _) if is_between_kinds => local_deletes,
        (Deletes::Lose, _) if is_between_kinds => !local_deletes,
        // A value of unknown age never wins by time.
        (_, None) => false,
        (_, Some(at)) if at != remote_at => (at > remote_at) == (policy == Policy::Newest),
        // Of two changes with one time the one with more versions wins, and a local change has none yet.
        _ => is_between_kinds && !local_deletes,
    };
    told(if local_wins { Verdict::Push } else { Verdict::Take })
}
