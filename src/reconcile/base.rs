//! What both sides had when they parted, of the keys that both have changed since.

use super::key_state::Written;
use super::knowledge::{Fate, Knowledge};
use super::view::{View, each_key};
use crate::cache::{Key, Stored};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What was under a key when the sides parted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum BaseState {
    /// Nobody has that state any more.
    #[default]
    Unknown,
    Absent,
    Present(Written),
}

impl BaseState {
    /// Whether it is not known.
    pub fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }
}

/// The entries at the fork of those keys that are asked for.
#[derive(Debug, Default)]
pub struct Base {
    /// Of the keys in it, `None` are those that had no entry.
    entries: BTreeMap<Key, Option<Stored>>,
}

impl Base {
    /// What is known of them; `None` for a key that had no entry.
    pub fn of(entries: BTreeMap<Key, Option<Stored>>) -> Self {
        Self { entries }
    }

    /// What was under a key. What the sides themselves know of it counts as well.
    pub(super) fn state(&self, key: &Key, incoming: Knowledge, live: Knowledge) -> BaseState {
        match self.entries.get(key) {
            Some(Some(stored)) => BaseState::Present(Written::as_stored(stored)),
            Some(None) => BaseState::Absent,
            None if incoming.was_common.or(live.was_common) == Some(false) => BaseState::Absent,
            None => BaseState::Unknown,
        }
    }

    /// The counter that was under a key; a key without an entry begins at 0.
    pub(super) fn number(&self, key: &Key) -> Option<i64> {
        match self.entries.get(key)? {
            Some(stored) => stored.record.counter(),
            None => Some(0),
        }
    }
}

/// The keys that both sides have changed since the fork: those whose base is worth knowing.
pub fn changed_by_both(incoming: View<'_>, live: View<'_>) -> Vec<Key> {
    let is_change = |fate: Fate| matches!(fate, Fate::Changed(_) | Fate::Deleted { .. } | Fate::Lost { .. });
    let mut keys = Vec::new();
    each_key(incoming, live, |key, theirs, ours| {
        let has_entry = matches!(theirs.fate, Fate::Changed(_)) || matches!(ours.fate, Fate::Changed(_));
        if has_entry && is_change(theirs.fate) && is_change(ours.fate) {
            keys.push(key);
        }
    });
    keys
}
