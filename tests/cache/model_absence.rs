//! The model's conditions, and what it knows of keys that are not there.

use crate::model::{Model, invalid};
use crate::model_hashes::is_hash;
use lockstep::cache::{
    Absence, CommandError, Condition, Found, InvalidField, Key, Removal, RemovalCause, limits,
};
use xxhash_rust::xxh3::xxh3_64;

impl Model {
    pub fn check(
        &self,
        key: &Key,
        condition: &Condition,
        current: Option<&Found>,
        op: Option<u32>,
    ) -> Result<(), CommandError> {
        let is_hash = current.is_some_and(|found| is_hash(&found.value));
        let value = current.map(|found| found.value.bytes.clone());
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
            Condition::ValueIs(_)
            | Condition::ValueIsNot(_)
            | Condition::DigestIs(_)
            | Condition::DigestIsNot(_)
            | Condition::NoHash
            | Condition::PresentNoHash
                if is_hash =>
            {
                return Err(CommandError::WrongKind { op });
            }
            Condition::NoHash => false,
            Condition::PresentNoHash => current.is_none(),
            Condition::ValueIs(wanted) => value.as_ref() != Some(wanted),
            Condition::ValueIsNot(unwanted) => value.as_ref() == Some(unwanted),
            Condition::DigestIs(wanted) => value.as_ref().map(|value| xxh3_64(value)) != Some(*wanted),
            Condition::DigestIsNot(unwanted) => value.as_ref().map(|value| xxh3_64(value)) == Some(*unwanted),
            Condition::AbsentSince(index) => {
                let may_have_been_there = || {
                    let absence = self.absence(key);
                    absence.removal.is_some_and(|removal| removal.revision > *index)
                        || absence.known_after > *index
                };
                current.is_some() || *index >= self.index || may_have_been_there()
            }
        };
        let absence = current.is_none().then(|| self.absence(key));
        if refused { Err(CommandError::PreconditionFailed { op, current, absence }) } else { Ok(()) }
    }

    /// Notes that a key is removed now.
    pub fn removed_now(&mut self, key: &Key, cause: RemovalCause) -> Removal {
        let removal = Removal { cause, revision: self.index, at_ms: self.now_ms };
        self.removed.insert(key.clone(), removal);
        removal
    }

    /// The last removal of a key that nobody finds, whatever the cache remembers of it. A clear may cover a key that was not
    /// there; one that was deleted stays so.
    pub fn last_removal(&self, key: &Key) -> Option<Removal> {
        let own = self.removed.get(key).copied();
        if own.is_some_and(|own| own.cause == RemovalCause::Delete) {
            return own;
        }
        let covers = |what: &Result<Key, String>| what.as_ref().is_err_and(|p| key.as_str().starts_with(p));
        let clear = self.graves.iter().rev().find(|(what, ..)| covers(what));
        let clear = clear.map(|(_, revision, at_ms)| Removal {
            cause: RemovalCause::Clear,
            revision: *revision,
            at_ms: *at_ms,
        });
        clear.into_iter().chain(own).max_by_key(|removal| removal.revision)
    }

    /// What is known of a key that nobody finds: its last removal, unless another key's loss may have displaced a newer one.
    /// (Too few keys are deleted here for a tombstone to be forgotten.)
    pub fn absence(&self, key: &Key) -> Absence {
        if let Some(held) = self.held.get(key) {
            let at_ms = held.found.info.expires_at_ms.expect("it has expired");
            let removal = Removal { cause: RemovalCause::Expire, revision: self.index, at_ms };
            return Absence { removal: Some(removal), known_after: 0 };
        }
        let last = self.last_removal(key);
        if last.is_some_and(|last| last.cause == RemovalCause::Delete) {
            return Absence { removal: last, known_after: 0 };
        }
        let place = |key: &Key| xxhash_rust::xxh3::xxh3_64(key.as_str().as_bytes()) % 65_536;
        let known_after = match self.losses.iter().rev().find(|(lost, _)| place(lost) == place(key)) {
            Some((lost, other)) if lost != key => other.revision,
            _ => 0,
        };
        Absence { removal: last.filter(|last| last.revision > known_after), known_after }
    }
}
