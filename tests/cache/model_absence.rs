//! The model's conditions, what it knows of keys that are not there, and operations that do not depend on each other.

use crate::model::{Model, invalid, op_key};
use lockstep::cache::{
    Absence, CommandError, Condition, Event, Found, InvalidField, Key, KeyState, Op, OpRefusal, Outcome,
    Removal, RemovalCause, limits,
};

impl Model {
    /// Each by itself: one that is refused leaves nothing.
    pub fn each(&mut self, ops: Vec<Op>, events: &mut Vec<Event>) -> Result<Outcome, CommandError> {
        let mut results = Vec::new();
        for op in ops {
            let (before, events_before) = (self.clone(), events.len());
            let key = op_key(&op).clone();
            let wants_value = matches!(
                op,
                Op::Get { .. } | Op::Put { previous: true, .. } | Op::Delete { previous: true, .. }
            );
            match self.fitting_ops(vec![op], false, events) {
                Ok(mut outcomes) => results.push(Ok(outcomes.remove(0))),
                Err(error) => {
                    *self = before;
                    events.truncate(events_before);
                    if matches!(error, CommandError::CacheFull { .. }) {
                        while !self.cleared.is_empty() {
                            self.free_cleared(0);
                        }
                    }
                    let key = match self.get(&key) {
                        Some(found) => KeyState::Present {
                            info: found.info.clone(),
                            value: wants_value.then(|| found.value.clone()),
                        },
                        None => KeyState::Absent(self.absence(&key)),
                    };
                    results.push(Err(Box::new(OpRefusal { error, key })));
                }
            }
        }
        Ok(Outcome::Each { revision: self.index, results })
    }

    pub fn check(
        &self,
        key: &Key,
        condition: &Condition,
        current: Option<&Found>,
        op: Option<u32>,
    ) -> Result<(), CommandError> {
        let current = current.map(|found| found.info.revision);
        let refused = match condition {
            Condition::Always => false,
            Condition::Absent => current.is_some(),
            Condition::Present => current.is_none(),
            Condition::Revision(revision) => current != Some(*revision),
            Condition::AnyOf(listed) | Condition::NoneOf(listed)
                if listed.len() > limits::CONDITION_REVISIONS_MAX =>
            {
                return Err(invalid(op, InvalidField::Condition));
            }
            Condition::AnyOf(listed) => !listed.iter().any(|revision| current == Some(*revision)),
            Condition::NoneOf(listed) => listed.iter().any(|revision| current == Some(*revision)),
            Condition::AbsentSince(index) => {
                let may_have_been_there = || {
                    let absence = self.absence(key);
                    absence.removal.is_some_and(|removal| removal.revision > *index)
                        || absence.known_after > *index
                };
                current.is_some() || may_have_been_there()
            }
        };
        let absence = current.is_none().then(|| self.absence(key));
        if refused { Err(CommandError::PreconditionFailed { op, current, absence }) } else { Ok(()) }
    }

    /// What is known of a key that nobody finds. Every removal is kept; that one displaces another is worked out anew.
    pub fn absence(&self, key: &Key) -> Absence {
        if let Some(held) = self.held.get(key) {
            let at_ms = held.found.info.expires_at_ms.expect("it has expired");
            let removal = Removal { cause: RemovalCause::Expire, revision: self.index, at_ms };
            return Absence { removal: Some(removal), known_after: 0 };
        }
        let place = |key: &Key| xxhash_rust::xxh3::xxh3_64(key.as_str().as_bytes()) % 65_536;
        let last = self.losses.iter().rev().find(|(lost, _)| place(lost) == place(key));
        let (lost, known_after) = match last {
            Some((lost, removal)) if lost == key => (Some(*removal), 0),
            Some((_, other)) => (None, other.revision),
            None => (None, 0),
        };
        let own = self.graves.iter().rev().find(|(what, ..)| what.as_ref() == Ok(key));
        let covers = |what: &Result<Key, String>| what.as_ref().is_err_and(|p| key.as_str().starts_with(p));
        let asked = own.or_else(|| self.graves.iter().rev().find(|(what, ..)| covers(what)));
        let asked = asked.map(|(what, revision, at_ms)| {
            let cause = if what.is_ok() { RemovalCause::Delete } else { RemovalCause::Clear };
            Removal { cause, revision: *revision, at_ms: *at_ms }
        });
        let removal = match (asked, lost) {
            (Some(asked), Some(lost)) if lost.revision >= asked.revision => Some(lost),
            (Some(asked), _) => Some(asked),
            (None, lost) => lost,
        };
        Absence { removal, known_after }
    }
}
