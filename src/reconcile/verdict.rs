//! What is proposed for one key, from what the two sides know of it.
//!
//! Who changed a key is settled by revisions, not by clocks: a change always beats what it changed, and only where both
//! sides changed a key does a policy decide. Nothing is removed on a guess.

use super::knowledge::{Entry, Fate, Knowledge};
use super::policy::{Change, Policy, Rule, Side};
use serde::{Deserialize, Serialize};

/// How the two sides stand to each other at a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Case {
    /// Incoming has it as it was at the fork. Live keeps what it has.
    UnchangedThere,
    /// Incoming no longer has it, and nobody there wished that.
    AbsentThere,
    /// Incoming does not know why it lacks a key that live has unchanged.
    UnknownAbsence,
    /// Only incoming changed it.
    ChangedThere,
    /// Only incoming changed it, and to the value that it had: its lifetime, say.
    LifetimeThere,
    /// Incoming changed it, and live no longer has it, unchanged.
    ChangedThereAbsentHere,
    /// Incoming changed it, and live cannot tell what became of it here.
    ChangedThereUnknownHere,
    /// Both changed it to the same.
    SameChange,
    /// Both changed it.
    ChangedTwice,
    /// Incoming changed what live removed.
    ChangedThereDeletedHere,
    /// Incoming changed it; live changed it too, and has lost it since.
    ChangedThereLostHere,
    /// Only incoming touched it, and removed it.
    DeletedThere,
    /// Incoming removed what live changed.
    DeletedThereChangedHere,
    /// Incoming removed a key that live has made for itself: two keys of one name.
    Unrelated,
    /// It is gone on both sides.
    GoneTwice,
    /// Incoming changed it and has lost it since; live has it as it was at the fork.
    LostThere,
    /// Incoming changed it and has lost it since; live changed it too.
    LostThereChangedHere,
    /// Changed by the end of incoming's log, which the plan leaves out: a line of its own, beside that of what counts.
    LeftOut,
}

impl Case {
    /// Whether both sides wished something, so that a policy has to decide.
    pub fn is_conflict(self) -> bool {
        matches!(self, Self::ChangedTwice | Self::ChangedThereDeletedHere | Self::DeletedThereChangedHere)
    }
}

/// What is proposed to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing: live keeps what it has.
    Keep,
    /// Live gets incoming's entry.
    Put,
    /// Live's entry is removed.
    Remove,
    /// Live, which has no entry, notes the removal, so that a third side does not bring the key back.
    Bury,
    /// Live's entry, which has the same value, gets incoming's lifetime and the time of its change.
    SetLifetime,
    /// So much is added to live's counter.
    Add(i64),
    /// Nothing yet: a person or a program has to decide.
    Decide,
}

/// What must hold in the cluster when the proposal is applied; else somebody changed the key meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    Absent,
    Revision(u64),
}

/// The proposal for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub case: Case,
    pub action: Action,
    pub guard: Guard,
    /// The side whose change does not come to be: it is written to the file of losers. `None` where nobody loses anything.
    pub loser: Option<Side>,
    /// The loser waits for a person, because the policy cannot decide.
    pub set_aside: bool,
}

/// Two entries that should be the same one are not: these are not the histories of one cluster, or one was tampered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key that neither side changed is not the same on both: the lineage of one of them is wrong")]
pub struct NotTheSame;

/// What to judge by.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    pub rule: Rule,
    /// See [`super::Rules::remove_unknown`].
    pub remove_unknown: bool,
    /// The counter at the fork, if it is known.
    pub base_number: Option<i64>,
    /// Some of what incoming did was brought in before, so nobody knows how much of a counter was.
    pub was_merged: bool,
}

/// Judges a key.
///
/// # Errors
/// Neither side changed it, and yet they differ.
pub fn judge(incoming: Knowledge, live: Knowledge, terms: Terms) -> Result<Verdict, NotTheSame> {
    let guard = match live.fate {
        Fate::Unchanged(entry) | Fate::Changed(entry) => Guard::Revision(entry.revision),
        _ => Guard::Absent,
    };
    // Whether the key was there at the fork, as far as either side knows.
    let was_common = incoming.was_common.or(live.was_common);
    let told = |case, action| Verdict { case, action, guard, loser: None, set_aside: false };
    let judge = Judge { terms, guard, was_common };
    // What came in before is what incoming had then: live itself has wished nothing. (How much of a sum it is, nobody knows.)
    let is_counter = matches!(incoming.fate, Fate::Changed(Entry { number: Some(_), .. }));
    let is_merged = live.is_merged && !(is_counter && terms.rule.policy == Policy::SumDelta);
    let ours = match live.fate {
        Fate::Changed(entry) if is_merged => Fate::Unchanged(entry),
        Fate::Deleted { .. } | Fate::Lost { .. } if is_merged => Fate::Absent,
        fate => fate,
    };
    Ok(match (incoming.fate, ours) {
        (Fate::Unchanged(_), _) if live.is_merged => told(Case::UnchangedThere, Action::Keep),
        (Fate::Unchanged(theirs), Fate::Unchanged(ours)) => {
            if theirs.revision != ours.revision || theirs.hash != ours.hash {
                return Err(NotTheSame);
            }
            told(Case::UnchangedThere, Action::Keep)
        }
        (Fate::Unchanged(_), _) => told(Case::UnchangedThere, Action::Keep),
        (Fate::Unknown { .. }, Fate::Unchanged(_)) if terms.remove_unknown => {
            told(Case::UnknownAbsence, Action::Remove)
        }
        (Fate::Unknown { .. }, Fate::Unchanged(_)) => told(Case::UnknownAbsence, Action::Keep),
        (Fate::Absent | Fate::Unknown { .. }, _) => told(Case::AbsentThere, Action::Keep),

        (Fate::Changed(theirs), Fate::Unchanged(ours)) => judge.changed_there(&theirs, &ours),
        (Fate::Changed(_), Fate::Absent) => told(Case::ChangedThereAbsentHere, Action::Put),
        // A removal that live has forgotten may be newer than the change.
        (Fate::Changed(theirs), Fate::Unknown { forgotten_ms }) => {
            let case = Case::ChangedThereUnknownHere;
            let is_newest = terms.rule.policy == Policy::Newest && theirs.stamp_ms > forgotten_ms;
            if is_newest { told(case, Action::Put) } else { judge.set_aside(case) }
        }
        (Fate::Changed(theirs), Fate::Changed(ours)) => judge.changed_twice(&theirs, &ours),
        // Live removed a key that it had made for itself.
        (Fate::Changed(_), Fate::Deleted { .. }) if was_common == Some(false) => {
            told(Case::ChangedThereAbsentHere, Action::Put)
        }
        (Fate::Changed(theirs), Fate::Deleted { stamp_ms }) => judge.conflict(
            Case::ChangedThereDeletedHere,
            Change::of_entry(&theirs),
            Change::removal(stamp_ms),
            Action::Put,
        ),
        (Fate::Changed(theirs), Fate::Lost { stamp_ms }) => {
            judge.against_lost(Case::ChangedThereLostHere, &theirs, stamp_ms, Side::Live)
        }

        (Fate::Deleted { .. }, Fate::Unchanged(_)) => told(Case::DeletedThere, Action::Remove),
        (Fate::Deleted { .. }, Fate::Changed(_)) if was_common == Some(false) => {
            told(Case::Unrelated, Action::Keep)
        }
        (Fate::Deleted { stamp_ms }, Fate::Changed(ours)) => judge.conflict(
            Case::DeletedThereChangedHere,
            Change::removal(stamp_ms),
            Change::of_entry(&ours),
            Action::Remove,
        ),
        (Fate::Lost { .. }, Fate::Unchanged(_)) => told(Case::LostThere, Action::Remove),
        (Fate::Lost { stamp_ms }, Fate::Changed(ours)) => {
            judge.against_lost(Case::LostThereChangedHere, &ours, stamp_ms, Side::Incoming)
        }
        (
            Fate::Deleted { stamp_ms: theirs } | Fate::Lost { stamp_ms: theirs },
            Fate::Deleted { stamp_ms: ours } | Fate::Lost { stamp_ms: ours },
        ) => {
            let is_theirs =
                judge.rule_without_choice().winner(&Change::removal(ours), &Change::removal(theirs))
                    == Some(Side::Incoming);
            told(Case::GoneTwice, if is_theirs { Action::Bury } else { Action::Keep })
        }
        (Fate::Deleted { .. } | Fate::Lost { .. }, Fate::Absent | Fate::Unknown { .. }) => {
            told(Case::GoneTwice, Action::Bury)
        }
    })
}

struct Judge {
    terms: Terms,
    guard: Guard,
    was_common: Option<bool>,
}

impl Judge {
    fn verdict(&self, case: Case, action: Action, loser: Option<Side>) -> Verdict {
        Verdict { case, action, guard: self.guard, loser, set_aside: false }
    }

    /// The policy cannot decide: live's stays.
    fn set_aside(&self, case: Case) -> Verdict {
        Verdict { set_aside: true, ..self.verdict(case, Action::Keep, Some(Side::Incoming)) }
    }

    fn changed_there(&self, theirs: &Entry, ours: &Entry) -> Verdict {
        if theirs.hash == ours.hash {
            return self.verdict(Case::LifetimeThere, Action::SetLifetime, None);
        }
        let added = theirs.number.zip(ours.number).and_then(|(theirs, ours)| theirs.checked_sub(ours));
        match added.filter(|_| self.terms.rule.policy == Policy::SumDelta) {
            // So that what a client adds meanwhile counts, too.
            Some(added) => self.verdict(Case::ChangedThere, Action::Add(added), None),
            None => self.verdict(Case::ChangedThere, Action::Put, None),
        }
    }

    /// Both sides have the same value: what is left to decide is its lifetime, and its time, which counts if a third side
    /// comes.
    fn same_change(&self, theirs: &Entry, ours: &Entry) -> Verdict {
        let (live, incoming) = (Change::of_entry(ours), Change::of_entry(theirs));
        let is_theirs =
            live != incoming && self.rule_without_choice().winner(&live, &incoming) == Some(Side::Incoming);
        let action = if is_theirs { Action::SetLifetime } else { Action::Keep };
        self.verdict(Case::SameChange, action, None)
    }

    fn changed_twice(&self, theirs: &Entry, ours: &Entry) -> Verdict {
        // Two counters that are equal may both have been added to.
        let is_sum = self.terms.rule.policy == Policy::SumDelta && theirs.number.is_some();
        if theirs.hash == ours.hash && !is_sum {
            return self.same_change(theirs, ours);
        }
        if self.terms.rule.policy != Policy::SumDelta {
            let (incoming, live) = (Change::of_entry(theirs), Change::of_entry(ours));
            return self.conflict(Case::ChangedTwice, incoming, live, Action::Put);
        }
        // A counter that was not there at the fork began at 0 on both sides.
        let base = if self.was_common == Some(false) { Some(0) } else { self.terms.base_number };
        let base = base.filter(|_| !self.terms.was_merged);
        let sum = || {
            let added = theirs.number?.checked_sub(base?)?;
            ours.number?.checked_add(added)?;
            Some(added)
        };
        match sum() {
            Some(0) => self.verdict(Case::ChangedTwice, Action::Keep, None),
            Some(added) => self.verdict(Case::ChangedTwice, Action::Add(added), None),
            None => self.set_aside(Case::ChangedTwice),
        }
    }

    /// `take` is what is proposed where incoming wins.
    fn conflict(&self, case: Case, incoming: Change, live: Change, take: Action) -> Verdict {
        match self.terms.rule.winner(&live, &incoming) {
            Some(Side::Incoming) => self.verdict(case, take, Some(Side::Live)),
            Some(Side::Live) => self.verdict(case, Action::Keep, Some(Side::Incoming)),
            None if self.terms.rule.policy == Policy::Custom => self.verdict(case, Action::Decide, None),
            None => self.set_aside(case),
        }
    }

    /// The rule where there are no two values to choose from, for a person or by adding up, and no removal that a client asked
    /// for.
    fn rule_without_choice(&self) -> Rule {
        let policy = match self.terms.rule.policy {
            policy @ (Policy::Oldest | Policy::PreferLive | Policy::PreferIncoming) => policy,
            Policy::Newest | Policy::SumDelta | Policy::Quarantine | Policy::Custom => Policy::Newest,
        };
        Rule { policy, ..Rule::default() }
    }

    /// `entry` against a change that its side, `lost_by`, no longer has. Nobody can get that change back, but if it wins, the
    /// key has to be a miss.
    fn against_lost(&self, case: Case, entry: &Entry, stamp_ms: u64, lost_by: Side) -> Verdict {
        let rule = self.rule_without_choice();
        let (entry, lost) = (Change::of_entry(entry), Change::removal(stamp_ms));
        let (live, incoming) = if lost_by == Side::Live { (lost, entry) } else { (entry, lost) };
        match (rule.winner(&live, &incoming), lost_by) {
            (Some(Side::Incoming), Side::Live) => self.verdict(case, Action::Put, None),
            (Some(Side::Incoming), Side::Incoming) => self.verdict(case, Action::Remove, Some(Side::Live)),
            (_, Side::Live) => self.verdict(case, Action::Keep, Some(Side::Incoming)),
            (_, Side::Incoming) => self.verdict(case, Action::Keep, None),
        }
    }
}
