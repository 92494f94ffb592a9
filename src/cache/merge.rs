//! How the changes of another side of a fork come in: in numbered steps, each of which is one log entry and is applied once,
//! however often it is sent.
//!
//! A step has many operations. Each names what it expects to find, and is answered by itself: so one key that a client has
//! changed meanwhile does not keep the others out.

use super::digest::{Sum, halves, hash_text, hash_words};
use super::limits::{HISTORIES_MAX, MERGE_RESULTS_KEPT, MERGE_STEPS_MAX, MERGES_MAX};
use super::{Key, Value};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use xxhash_rust::xxh3::Xxh3Default;

/// Some of the changes of another side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeStep {
    /// Names the merge; the same in all of its steps. At most [`super::limits::HISTORY_BYTES_MAX`] bytes.
    pub merge: String,
    /// Id of the history whose changes come in.
    pub history: String,
    /// Which step it is, from 0.
    pub number: u64,
    /// Up to which index that history was decided when the plan was made. The first step is refused if another merge has
    /// ended since: the same changes would come in again, and sums be added twice.
    pub after: u64,
    /// The index of this cluster's log that the plan is of. What went after it was no part of the plan: an operation that expects
    /// such a key to be absent does nothing.
    pub planned_at: u64,
    /// At most [`super::limits::BATCH_OPS_MAX`], each for another key.
    pub ops: Vec<MergeOp>,
    /// Set in the last step.
    pub end: Option<MergeEnd>,
}

/// How a merge ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MergeEnd {
    /// All that the other side did up to this index of its log has been decided.
    UpTo(u64),
    /// It is given up. What has come in stays.
    Aborted,
    /// The other side will not come back: what was noted for it is no longer needed.
    Forgotten,
}

/// A change to one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeOp {
    pub key: Key,
    pub guard: MergeGuard,
    pub change: MergeChange,
}

/// What must hold, or the operation does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MergeGuard {
    /// The key is not there, and was not since the plan: it may have been written and removed meanwhile.
    Absent,
    Revision(u64),
    /// The key is there, at whatever revision: a sum does not depend on the order of what is added.
    Present,
}

/// When an entry was changed, and when it expires, on this cluster's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeTimes {
    /// Log time of the change on the other side. A later time than now counts as now.
    pub at_ms: u64,
    /// How many times it was written since it was created.
    pub version: u32,
    pub expires_at_ms: Option<u64>,
    pub sliding_ms: u32,
}

/// What is done to a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MergeChange {
    Put {
        value: Value,
        times: MergeTimes,
    },
    /// Removes it; the tombstone gets this log time.
    Remove {
        at_ms: u64,
    },
    /// Leaves a tombstone of this log time where there is no entry.
    Bury {
        at_ms: u64,
    },
    /// The value stays.
    SetTimes(MergeTimes),
    /// Adds to a counter.
    Add {
        by: i64,
    },
}

/// What became of an operation. Numbers are persisted: one is never given to another result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeResult {
    Done,
    /// The guard did not hold: somebody has changed the key meanwhile. Nothing was done.
    Changed,
    /// There is no room, or the entry is too large for the cache. Nothing was done.
    Full,
    /// The value or a time breaks a rule, or the counter is none or would overflow. Nothing was done.
    Invalid,
}

impl MergeResult {
    const ALL: [Self; 4] = [Self::Done, Self::Changed, Self::Full, Self::Invalid];

    pub(super) fn number(self) -> u8 {
        self as u8
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|result| result.number() == number)
    }
}

impl MergeGuard {
    /// `current` is the revision of the key, if it is present.
    pub(super) fn holds(self, current: Option<u64>) -> bool {
        match self {
            Self::Absent => current.is_none(),
            Self::Revision(revision) => current == Some(revision),
            Self::Present => current.is_some(),
        }
    }
}

/// A merge, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge {
    pub id: String,
    pub history: String,
    /// The number of the step that is due.
    pub next_step: u64,
    pub end: Option<MergeEnd>,
    /// How many operations had each result, in the order of [`MergeResult`].
    pub results: [u64; 4],
    /// The index of each log entry that brought some of it in, in order.
    pub steps: Vec<u64>,
    /// Hashes of the keys where something of this side's own stayed: a sum, a value that both sides had, a removal of its own.
    pub mixed: Vec<u128>,
    /// The results of each of the newest steps, up to [`MERGE_RESULTS_KEPT`], for whoever has not received them.
    pub recent_results: VecDeque<Vec<MergeResult>>,
}

impl Merge {
    fn hash(&self, position: u64) -> u128 {
        let [id_low, id_high] = hash_text(&self.id);
        let [history_low, history_high] = hash_text(&self.history);
        let (end, up_to) = self.end_words();
        let [done, changed, full, invalid] = self.results;
        let words = [position, id_low, id_high, history_low, history_high, self.next_step, end, up_to];
        let [low, high] = halves(hash_words(words));
        let mut recent = Xxh3Default::new();
        for results in &self.recent_results {
            recent.update(&(results.len() as u64).to_le_bytes());
            results.iter().for_each(|result| recent.update(&[result.number()]));
        }
        let [recent_low, recent_high] = halves(recent.digest128());
        let mut steps = Xxh3Default::new();
        self.steps.iter().for_each(|index| steps.update(&index.to_le_bytes()));
        self.mixed.iter().for_each(|key| steps.update(&key.to_le_bytes()));
        let [steps_low, steps_high] = halves(steps.digest128());
        hash_words([low, high, done, changed, full, invalid, recent_low, recent_high, steps_low, steps_high])
    }

    /// Whether it has ended and how, and up to which index.
    pub(super) fn end_words(&self) -> (u64, u64) {
        match self.end {
            None => (0, 0),
            Some(MergeEnd::UpTo(index)) => (1, index),
            Some(MergeEnd::Aborted) => (2, 0),
            Some(MergeEnd::Forgotten) => (3, 0),
        }
    }

    pub(super) fn end_of_words(end: u64, up_to: u64) -> Option<Option<MergeEnd>> {
        match (end, up_to) {
            (0, 0) => Some(None),
            (1, index) => Some(Some(MergeEnd::UpTo(index))),
            (2, 0) => Some(Some(MergeEnd::Aborted)),
            (3, 0) => Some(Some(MergeEnd::Forgotten)),
            _ => None,
        }
    }
}

/// A step that was applied.
pub(super) struct StepDone<'a> {
    pub number: u64,
    /// Index of its log entry.
    pub index: u64,
    pub end: Option<MergeEnd>,
    pub results: &'a [MergeResult],
    /// See [`Merge::mixed`].
    pub mixed: Vec<u128>,
}

/// The newest merges, in the order in which they began; one of them at most has not ended. And up to which index each history
/// is decided, which outlives them.
#[derive(Debug, Default)]
pub(super) struct Merges {
    merges: Vec<Merge>,
    decided: BTreeMap<String, u64>,
    /// For the digest: every log entry asks for it, and merges are rare.
    sum: Sum,
}

impl Merges {
    /// `None` when they do not fit together.
    pub fn restore(merges: Vec<Merge>, decided: BTreeMap<String, u64>) -> Option<Self> {
        let is_new = |at: usize| merges[..at].iter().all(|before| before.id != merges[at].id);
        let open = merges.iter().filter(|merge| merge.end.is_none()).count();
        let fits = merges.len() <= MERGES_MAX && open <= 1 && (0..merges.len()).all(is_new);
        let mut restored = Self { merges, decided, sum: Sum::default() };
        restored.sum = restored.recompute_sum();
        fits.then_some(restored)
    }

    pub fn all(&self) -> &[Merge] {
        &self.merges
    }

    /// Up to which index each history is decided.
    pub fn decided(&self) -> &BTreeMap<String, u64> {
        &self.decided
    }

    pub fn decided_until(&self, history: &str) -> u64 {
        self.decided.get(history).copied().unwrap_or(0)
    }

    pub fn get(&self, id: &str) -> Option<&Merge> {
        self.merges.iter().find(|merge| merge.id == id)
    }

    /// The one that has not ended.
    pub fn open(&self) -> Option<&Merge> {
        self.merges.iter().find(|merge| merge.end.is_none())
    }

    /// Whether a step of a merge of that history was applied at this index.
    pub fn is_step(&self, history: &str, index: u64) -> bool {
        let of = self.merges.iter().filter(|merge| merge.history == history);
        of.into_iter().any(|merge| merge.steps.binary_search(&index).is_ok())
    }

    /// Notes a step that was applied. The first one of a merge adds it, and the oldest makes room.
    pub fn note(&mut self, id: &str, history: String, step: StepDone<'_>) {
        let StepDone { number, index, end, results, mixed } = step;
        if number == 0 {
            if self.merges.len() >= MERGES_MAX {
                self.merges.remove(0);
            }
            let (id, recent_results, steps) = (id.to_owned(), VecDeque::new(), Vec::new());
            let history = history.clone();
            self.merges.push(Merge {
                id,
                history,
                next_step: 0,
                end: None,
                results: [0; 4],
                steps,
                mixed: Vec::new(),
                recent_results,
            });
        }
        if let Some(merge) = self.merges.iter_mut().find(|merge| merge.id == id) {
            (merge.next_step, merge.end) = (number + 1, end);
            for result in results {
                merge.results[usize::from(result.number())] += 1;
            }
            if merge.recent_results.len() >= MERGE_RESULTS_KEPT {
                merge.recent_results.pop_front();
            }
            merge.recent_results.push_back(results.to_vec());
            // Without its keys a step would say too much.
            let fits =
                merge.steps.len() < MERGE_STEPS_MAX && merge.mixed.len() + mixed.len() <= MERGE_STEPS_MAX;
            if !results.is_empty() && fits {
                merge.steps.push(index);
                merge.mixed.extend(mixed);
            }
        }
        if let Some(MergeEnd::UpTo(index)) = end
            && (self.decided.len() < HISTORIES_MAX || self.decided.contains_key(&history))
        {
            let decided = self.decided.entry(history).or_default();
            *decided = index.max(*decided);
        }
        self.sum = self.recompute_sum();
    }

    /// For the digest.
    pub fn words(&self) -> [u64; 2] {
        self.sum.words()
    }

    /// The same, computed from scratch.
    pub fn recompute_words(&self) -> [u64; 2] {
        self.recompute_sum().words()
    }

    fn recompute_sum(&self) -> Sum {
        let mut sum = Sum::default();
        for (merge, position) in self.merges.iter().zip(0..) {
            sum.add(merge.hash(position));
        }
        for (history, index) in &self.decided {
            let [low, high] = hash_text(history);
            sum.add(hash_words([low, high, *index]));
        }
        sum
    }
}
