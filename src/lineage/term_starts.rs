//! In which term each part of a log was written.
//!
//! Two logs that have entries of one term at one index are equal up to it, so two lists of terms tell where logs part. Kafka
//! keeps the same list for the same purpose (KIP-101, KIP-279).

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// How many terms are remembered, the newest ones.
pub const TERM_STARTS_MAX: usize = 4_096;

/// Where the entries of a term begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermStart {
    pub term: u64,
    /// The index of its first entry.
    pub index: u64,
}

/// The terms of a log and where each begins, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermStarts(VecDeque<TermStart>);

impl TermStarts {
    /// Notes an entry. Entries come in the order of the log.
    pub fn note(&mut self, term: u64, index: u64) {
        if self.0.back().is_some_and(|last| last.term >= term) {
            return;
        }
        self.0.push_back(TermStart { term, index });
        if self.0.len() > TERM_STARTS_MAX {
            self.0.pop_front();
        }
    }

    /// Forgets everything after an index.
    pub fn truncate(&mut self, last_index: u64) {
        while self.0.back().is_some_and(|last| last.index > last_index) {
            self.0.pop_back();
        }
    }

    /// Those of the log up to an index.
    pub fn until(&self, last_index: u64) -> Self {
        let mut terms = self.clone();
        terms.truncate(last_index);
        terms
    }

    /// Oldest first.
    pub fn iter(&self) -> impl Iterator<Item = TermStart> + '_ {
        self.0.iter().copied()
    }

    /// The term of the entry at an index, and where that term begins. `None` where the list does not reach back to it. The
    /// log must reach the index.
    pub fn at(&self, index: u64) -> Option<TermStart> {
        let after = self.0.partition_point(|start| start.index <= index);
        after.checked_sub(1).map(|at| self.0[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_s_term_is_found() {
        let mut starts = TermStarts::default();
        for (term, index) in [(1, 1), (1, 2), (3, 3), (3, 4), (7, 5)] {
            starts.note(term, index);
        }
        let found: Vec<_> =
            (0..7).map(|index| starts.at(index).map(|start| (start.term, start.index))).collect();
        let (one, three, seven) = (Some((1, 1)), Some((3, 3)), Some((7, 5)));
        assert_eq!(found, [None, one, one, three, three, seven, seven]);
        starts.truncate(3);
        assert_eq!(starts.at(9), Some(TermStart { term: 3, index: 3 }));
    }

    #[test]
    fn the_oldest_terms_are_forgotten() {
        let mut starts = TermStarts::default();
        for term in 1..=TERM_STARTS_MAX as u64 + 10 {
            starts.note(term, term * 2);
        }
        assert_eq!(starts.iter().count(), TERM_STARTS_MAX);
        assert_eq!(starts.at(21), None);
        assert_eq!(starts.at(22), Some(TermStart { term: 11, index: 22 }));
    }
}
