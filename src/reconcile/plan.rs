//! Goes through the keys of both sides and says what to do with each.

use super::base::{Base, BaseState};
use super::knowledge::{Fate, Knowledge};
use super::plan_file::PlanLine;
use super::policy::{Rules, Side};
use super::verdict::{Action, Case, NotTheSame, Terms, Verdict, judge};
use super::view::{View, try_each_key};
use crate::cache::{Key, Scope};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A key and what is proposed for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    pub key: Key,
    pub verdict: Verdict,
    pub incoming: Knowledge,
    pub live: Knowledge,
    /// What both had at the fork; of conflicts only.
    pub base: BaseState,
}

/// How many keys there were of each kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub cases: BTreeMap<Case, u64>,
    /// Keys that incoming changed or removed since the fork.
    pub changes: u64,
    /// Proposals that do something.
    pub proposed: u64,
    /// Conflicts, by what became of them.
    pub won_by_live: u64,
    pub won_by_incoming: u64,
    pub set_aside: u64,
    pub undecided: u64,
    /// Keys that the end of incoming's log changed, which is left out.
    #[serde(default)]
    pub left_out: u64,
}

/// What becomes of a conflict, as far as it is counted.
#[derive(Debug, Clone, Copy)]
pub struct Settled {
    action: Action,
    loser: Option<Side>,
    set_aside: bool,
}

impl From<&PlanLine> for Settled {
    fn from(line: &PlanLine) -> Self {
        Self { action: line.action, loser: line.loser, set_aside: line.set_aside }
    }
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError<E> {
    #[error("{0:?}: {1}")]
    NotTheSame(Key, NotTheSame),
    /// A proposal was not taken.
    #[error(transparent)]
    Output(E),
}

/// Judges every key, in the order of keys, and hands on the proposals for those where something is to be done or lost. Then
/// those for keys that neither side has and incoming removed.
///
/// # Errors
/// [`PlanError`]. What was handed on until then is worth nothing.
pub fn plan<E>(
    incoming: View<'_>,
    live: View<'_>,
    rules: &Rules,
    base: &Base,
    mut each: impl FnMut(Proposal) -> Result<(), E>,
) -> Result<Counts, PlanError<E>> {
    let mut counts = Counts::default();
    let mut settle = |key: Key, theirs: Knowledge, ours: Knowledge| {
        let rule = rules.of(key.as_str());
        let was_merged = incoming.decided_until > 0;
        let base_number = base.number(&key);
        let terms = Terms { rule, remove_unknown: rules.remove_unknown, base_number, was_merged };
        let verdict =
            judge(theirs, ours, terms).map_err(|error| PlanError::NotTheSame(key.clone(), error))?;
        counts.count(theirs, &verdict);
        if verdict.action == Action::Keep && verdict.loser.is_none() {
            return Ok(());
        }
        let base =
            if verdict.case.is_conflict() { base.state(&key, theirs, ours) } else { BaseState::Unknown };
        each(Proposal { key, verdict, incoming: theirs, live: ours, base }).map_err(PlanError::Output)
    };
    try_each_key(incoming, live, &mut settle)?;
    for tombstone in incoming.cache.tombstones() {
        let Scope::Key(key) = &tombstone.scope else { continue };
        let has_entry = |view: &View<'_>| view.cache.stored(key.as_str()).is_some();
        if tombstone.revision > incoming.fork_index && !has_entry(&incoming) && !has_entry(&live) {
            settle(key.clone(), incoming.of(key.as_str()), live.of(key.as_str()))?;
        }
    }
    Ok(counts)
}

impl Counts {
    /// Counts a conflict anew, after a decision has changed what becomes of it.
    pub fn decided(&mut self, before: Settled, after: Settled) {
        for (settled, add) in [(before, false), (after, true)] {
            let step = |count: &mut u64, is_one: bool| {
                *count =
                    if add { *count + u64::from(is_one) } else { count.saturating_sub(u64::from(is_one)) };
            };
            let Settled { action, loser, set_aside } = settled;
            step(&mut self.proposed, !matches!(action, Action::Keep | Action::Decide));
            step(&mut self.undecided, action == Action::Decide);
            step(&mut self.set_aside, set_aside);
            step(&mut self.won_by_incoming, loser == Some(Side::Live));
            step(&mut self.won_by_live, loser == Some(Side::Incoming) && !set_aside);
        }
    }

    fn count(&mut self, incoming: Knowledge, verdict: &Verdict) {
        *self.cases.entry(verdict.case).or_default() += 1;
        let is_change = matches!(incoming.fate, Fate::Changed(_) | Fate::Deleted { .. } | Fate::Lost { .. });
        self.changes += u64::from(is_change);
        self.proposed += u64::from(!matches!(verdict.action, Action::Keep | Action::Decide));
        self.undecided += u64::from(verdict.action == Action::Decide);
        self.set_aside += u64::from(verdict.set_aside);
        self.won_by_incoming += u64::from(verdict.loser == Some(Side::Live));
        self.won_by_live += u64::from(verdict.loser == Some(Side::Incoming) && !verdict.set_aside);
    }
}
