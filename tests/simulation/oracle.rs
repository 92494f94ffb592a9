//! Judges answers by the place in the log that each names.
//!
//! While a simulation runs: an answer never stands before one that was given before its question (H1, R5). At
//! its end, key by key: every value that was seen is the newest acknowledged one at its index, or a later one
//! whose outcome was never told (C5, R7); what was told as not done is nowhere (H2); every request counted
//! once (C6); pairs are whole.

use crate::history::{Answer, Ask, Call, PAIR, Seen};
use lockstep::cache::{CommandError, Outcome};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct Oracle {
    stale_holds: bool,
    /// The cache is too small for all keys: each may be gone at any time, and a counter begins anew.
    evicts: bool,
    floor: u64,
    /// The index of every write that was acknowledged, and the call's text.
    written: BTreeMap<u64, String>,
    /// The newest revision of each key that was told.
    newest: BTreeMap<String, u64>,
}

/// A key as somebody saw it, at an index.
struct Sighting {
    index: u64,
    seen: Seen,
    /// Only the revision was told.
    revision_only: bool,
}

/// What is known of a key.
#[derive(Default)]
struct Story {
    /// What it became at an index.
    known: BTreeMap<u64, Option<String>>,
    /// Values that may have been stored.
    maybe: BTreeSet<String>,
    maybe_deleted: bool,
    sightings: Vec<Sighting>,
}

impl Oracle {
    /// Reads of whatever a node has are judged as if they promised more.
    pub fn trust_stale_reads(&mut self, trust: bool) {
        self.stale_holds = trust;
    }

    /// The cache is too small for all that is stored.
    pub fn entries_are_evicted(&mut self) {
        self.evicts = true;
    }

    /// The largest index that any answer has named.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// How many writes were acknowledged.
    pub fn written(&self) -> usize {
        self.written.len()
    }

    /// The newest revision of a key that anybody was told of.
    pub fn newest(&self, key: &str) -> u64 {
        self.newest.get(key).copied().unwrap_or(1)
    }

    /// Judges an answer as it comes.
    ///
    /// # Errors
    /// It must not be.
    pub fn take_in(&mut self, call: &Call) -> Result<(), String> {
        let Some(answer) = &call.answer else { return Ok(()) };
        let Some(index) = answer.index() else { return Ok(()) };
        if !self.stale_holds && !call.is_linearizable() {
            return Ok(());
        }
        let after = if call.is_write() { index > call.floor } else { index >= call.floor };
        if !after {
            return Err(format!(
                "asked after {} had been answered, the answer stands at {index}: {call:?}",
                call.floor
            ));
        }
        self.floor = self.floor.max(index);
        if call.is_write()
            && let Some(other) = self.written.insert(index, format!("{call:?}"))
        {
            return Err(format!("two writes at index {index}: {call:?} and {other}"));
        }
        if let (Ask::Put { key, .. }, Answer::Written { .. }) = (&call.ask, answer) {
            let newest = self.newest.entry(key.clone()).or_default();
            *newest = (*newest).max(index);
        }
        Ok(())
    }

    /// Judges the whole history.
    ///
    /// # Errors
    /// What does not fit.
    pub fn judge(&self, calls: &[Call]) -> Result<(), String> {
        let keys: BTreeSet<&String> = calls
            .iter()
            .filter_map(|call| match &call.ask {
                Ask::Put { key, .. } | Ask::Delete { key } | Ask::Get { key, .. } if key.starts_with('r') => {
                    Some(key)
                }
                _ => None,
            })
            .collect();
        for key in keys {
            let mut story = Story::of(key, calls)?;
            story.maybe_deleted |= self.evicts;
            story.judge().map_err(|wrong| format!("key {key}: {wrong}"))?;
        }
        judge_pairs(calls, self.evicts)?;
        if self.evicts {
            return Ok(());
        }
        let counters: BTreeSet<&String> = calls
            .iter()
            .filter_map(|call| if let Ask::Incr { key, .. } = &call.ask { Some(key) } else { None })
            .collect();
        for key in counters {
            judge_counter(key, calls).map_err(|wrong| format!("counter {key}: {wrong}"))?;
        }
        Ok(())
    }
}

impl Story {
    fn of(key: &str, calls: &[Call]) -> Result<Self, String> {
        let mut story = Self::default();
        for call in calls {
            match (&call.ask, &call.answer) {
                (Ask::Put { key: of, value, at }, answer) if of == key => {
                    story.put(value, *at, answer.as_ref())?;
                }
                (Ask::Delete { key: of }, answer) if of == key => match answer {
                    Some(Answer::Written { index, outcome: Outcome::Deleted { .. }, .. }) => {
                        story.known.insert(*index, None);
                    }
                    Some(Answer::Written { index, outcome: Outcome::NotFound(_), .. }) => {
                        story.saw(*index, None)
                    }
                    Some(Answer::Unknown) | None => story.maybe_deleted = true,
                    Some(Answer::NotDone(_)) => {}
                    Some(other) => return Err(format!("a delete was answered {other:?}")),
                },
                (Ask::Get { key: of, .. }, Some(Answer::Read { index, seen })) if of == key => {
                    story.saw(*index, seen.first().cloned().flatten());
                }
                _ => {}
            }
        }
        Ok(story)
    }

    fn put(&mut self, value: &str, at: Option<u64>, answer: Option<&Answer>) -> Result<(), String> {
        match answer {
            Some(Answer::Written { index, outcome: Outcome::Put { revision, .. }, .. }) => {
                if revision != index {
                    return Err(format!("{value} was stored at {index} with revision {revision}"));
                }
                self.known.insert(*index, Some(value.to_owned()));
                match at {
                    Some(0) => self.saw(index - 1, None),
                    Some(before) => self.saw_revision(index - 1, before),
                    None => {}
                }
            }
            Some(Answer::Refused { index, error: CommandError::PreconditionFailed { current, .. } }) => {
                match current {
                    Some(revision) => self.saw_revision(*index, *revision),
                    None => self.saw(*index, None),
                }
            }
            Some(Answer::Unknown) | None => drop(self.maybe.insert(value.to_owned())),
            // Nobody may ever see the value: it is neither known nor possible.
            Some(Answer::NotDone(_) | Answer::Refused { error: CommandError::CacheFull { .. }, .. }) => {}
            Some(other) => return Err(format!("a put was answered {other:?}")),
        }
        Ok(())
    }

    fn saw(&mut self, index: u64, seen: Seen) {
        self.sightings.push(Sighting { index, seen, revision_only: false });
    }

    fn saw_revision(&mut self, index: u64, revision: u64) {
        let seen = Some((revision, String::new()));
        self.sightings.push(Sighting { index, seen, revision_only: true });
    }

    fn judge(mut self) -> Result<(), String> {
        // Once seen, a value of unknown outcome is known like any other.
        for Sighting { seen, revision_only, .. } in &self.sightings {
            let Some((revision, value)) = seen.as_ref().filter(|_| !revision_only) else { continue };
            if self.known.contains_key(revision) {
                continue;
            }
            if !self.maybe.remove(value) {
                return Err(format!(
                    "{value} was seen at revision {revision}, and nobody can have stored it"
                ));
            }
            self.known.insert(*revision, Some(value.clone()));
        }
        for sighting in &self.sightings {
            self.judge_sighting(sighting)?;
        }
        Ok(())
    }

    fn judge_sighting(&self, sighting: &Sighting) -> Result<(), String> {
        let Sighting { index, seen, revision_only } = sighting;
        let last = self.known.range(..=index).next_back();
        match seen {
            Some((revision, value)) => {
                if revision > index {
                    return Err(format!("revision {revision} was seen at index {index}"));
                }
                if let Some((newer, what)) = last.filter(|(known, _)| *known > revision) {
                    return Err(format!(
                        "at index {index} it was at revision {revision}; {what:?} was stored at {newer}"
                    ));
                }
                match self.known.get(revision) {
                    Some(Some(known)) if *revision_only || known == value => Ok(()),
                    None if *revision_only && !self.maybe.is_empty() => Ok(()),
                    known => Err(format!("revision {revision} was seen as {value:?}, and is {known:?}")),
                }
            }
            None => match last {
                Some((at, Some(value))) if !self.maybe_deleted => {
                    Err(format!("at index {index} it was gone; {value} was stored at {at}"))
                }
                _ => Ok(()),
            },
        }
    }
}

/// Every request counts once, and what one is told is more than any told before.
fn judge_counter(key: &str, calls: &[Call]) -> Result<(), String> {
    let mut first: BTreeMap<&str, (u64, i64)> = BTreeMap::new();
    let mut requests = BTreeSet::new();
    let mut reads = Vec::new();
    for call in calls {
        match (&call.ask, &call.answer) {
            (Ask::Incr { key: of, request }, answer) if of == key => {
                if !matches!(answer, Some(Answer::NotDone(_))) {
                    requests.insert(request.as_str());
                }
                let Some(Answer::Written { outcome, .. }) = answer else { continue };
                let Outcome::Counter { revision, value, .. } = outcome else {
                    return Err(format!("an incr was answered {outcome:?}"));
                };
                let told = *first.entry(request).or_insert((*revision, *value));
                if told != (*revision, *value) {
                    return Err(format!("{request} was told {told:?} and then {outcome:?}"));
                }
            }
            (Ask::Get { key: of, .. }, Some(Answer::Read { index, seen })) if of == key => {
                reads.push((*index, seen.first().cloned().flatten()));
            }
            _ => {}
        }
    }
    let told: BTreeMap<u64, i64> = first.values().copied().collect();
    let values: BTreeSet<i64> = told.values().copied().collect();
    if told.len() != first.len() || values.len() != first.len() || !told.values().is_sorted() {
        return Err(format!("the counts in the log's order are {told:?}"));
    }
    for (index, seen) in reads {
        let Some((revision, text)) = seen else {
            match told.range(..=index).next_back() {
                Some(before) => return Err(format!("at index {index} it was gone; it was {before:?}")),
                None => continue,
            }
        };
        let value: i64 = text.parse().map_err(|_| format!("its value is {text}"))?;
        let least = told.range(..=revision).next_back().map_or(1, |(_, value)| *value);
        let newest = told.range(..=index).next_back().map_or(0, |(revision, _)| *revision);
        let most = told.range(revision..).next().map_or(requests.len() as i64, |(_, value)| *value);
        if revision < newest || revision > index || value < least || value > most {
            return Err(format!(
                "at index {index} it was {value} at revision {revision}; told were {told:?}"
            ));
        }
    }
    Ok(())
}

fn judge_pairs(calls: &[Call], evicts: bool) -> Result<(), String> {
    let whole = |both: &[Seen]| both[0] == both[1] || (evicts && both.contains(&None));
    for call in calls {
        if let (Ask::GetPair { .. }, Some(Answer::Read { seen, .. })) = (&call.ask, &call.answer)
            && !seen.windows(PAIR.len()).all(whole)
        {
            return Err(format!("a batch was seen half done: {call:?}"));
        }
    }
    Ok(())
}
