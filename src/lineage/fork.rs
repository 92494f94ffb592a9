//! Where two logs of one cluster part.

use super::{Lineage, Relation, TermStarts};

/// What is known of a log.
#[derive(Debug, Clone, Copy)]
pub struct Position<'a> {
    pub lineage: &'a Lineage,
    pub terms: &'a TermStarts,
    /// Index of its last entry.
    pub last_index: u64,
}

/// Why no fork can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForkError {
    /// The logs are those of two clusters.
    Foreign,
    /// One of the logs no longer knows the terms of its entries that far back.
    Forgotten,
}

impl std::fmt::Display for ForkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Foreign => "the two logs belong to different clusters",
            Self::Forgotten => "the two logs parted before anything that both still know of",
        })
    }
}

impl std::error::Error for ForkError {}

/// The last index up to which two logs have the same entries.
///
/// Neither log's lineage is enough: who survived the loss of a majority may have gone on from entries that the majority had
/// replaced before it was lost. Nor are the terms enough: after a fork both sides go on to the same next term. So it is the
/// last index before either side left the last history of both at which both have the same term.
///
/// # Errors
/// [`ForkError`].
pub fn fork_index(left: Position<'_>, right: Position<'_>) -> Result<u64, ForkError> {
    if left.lineage.relation(right.lineage) == Relation::Foreign {
        return Err(ForkError::Foreign);
    }
    let shared = left.lineage.shared(right.lineage);
    let mut index = end_of_shared(left, shared).min(end_of_shared(right, shared));
    while index > 0 {
        let (Some(mine), Some(theirs)) = (left.terms.at(index), right.terms.at(index)) else {
            return Err(ForkError::Forgotten);
        };
        if mine.term == theirs.term {
            break;
        }
        // From there on the terms differ.
        index = mine.index.max(theirs.index) - 1;
    }
    Ok(index)
}

/// The last entry of a log in the last of the first `shared` histories.
fn end_of_shared(log: Position<'_>, shared: usize) -> u64 {
    log.lineage.histories().get(shared).map_or(log.last_index, |next| next.fork_index)
}

#[cfg(test)]
mod tests {
    use super::super::HistoryKind;
    use super::*;
    use proptest::prelude::*;

    fn terms(of: &[u64]) -> TermStarts {
        let mut starts = TermStarts::default();
        of.iter().zip(1..).for_each(|(term, index)| starts.note(*term, index));
        starts
    }

    fn recovered(id: &str, fork_index: u64) -> Lineage {
        let first = Lineage::founded("c", 1);
        first.fork(id.into(), HistoryKind::Recovered, fork_index, 0, 7, "").expect("room")
    }

    #[test]
    fn row_29_the_tail_that_a_survivor_took_over_is_not_shared() {
        // The survivor has 100 to 105 in term 3; the lost ones replaced them in term 4 and went on to 120.
        let first = Lineage::founded("c", 1);
        let survivor: Vec<u64> = [vec![1; 99], vec![3; 6]].concat();
        let lost: Vec<u64> = [vec![1; 99], vec![4; 21]].concat();
        let live = recovered("b", 105);
        let found = fork_index(
            Position { lineage: &live, terms: &terms(&survivor), last_index: live.current().start_index + 9 },
            Position { lineage: &first, terms: &terms(&lost), last_index: 120 },
        );
        assert_eq!(found, Ok(99));
    }

    #[test]
    fn equal_terms_after_a_fork_are_not_shared() {
        // Both go on in term 2 after index 10.
        let (left, right) = (recovered("l", 10), recovered("r", 10));
        let mut list = terms(&[1; 10]);
        list.note(2, left.current().start_index + 1);
        let last_index = left.current().start_index + 50;
        let found = fork_index(
            Position { lineage: &left, terms: &list, last_index },
            Position { lineage: &right, terms: &list, last_index },
        );
        assert_eq!(found, Ok(10));
    }

    #[test]
    fn nothing_is_guessed() {
        let (first, other) = (Lineage::founded("c", 1), Lineage::founded("d", 1));
        let empty = TermStarts::default();
        let log = Position { lineage: &first, terms: &empty, last_index: 10 };
        assert_eq!(fork_index(log, Position { lineage: &other, ..log }), Err(ForkError::Foreign));
        assert_eq!(fork_index(log, log), Err(ForkError::Forgotten));
        assert_eq!(fork_index(log, Position { last_index: 0, ..log }), Ok(0));
    }

    /// Logs as Raft makes them: some entries shared, then terms that grow by themselves and are never the same on both
    /// sides in one history.
    fn logs() -> impl Strategy<Value = (Vec<u64>, Vec<u64>, usize)> {
        let steps = || prop::collection::vec((0u64..3, any::<bool>()), 0..30);
        (steps(), steps(), steps()).prop_map(|(shared, left, right)| {
            let mut term = 1;
            let shared: Vec<u64> = shared
                .iter()
                .map(|(step, _)| {
                    term += step;
                    term
                })
                .collect();
            // A term has one leader: odd steps are the left side's, even ones the right side's.
            let side = |steps: Vec<(u64, bool)>, odd: u64| -> Vec<u64> {
                let mut now = term * 2 + odd;
                let own: Vec<u64> = steps
                    .iter()
                    .map(|(step, _)| {
                        now += 2 * step;
                        now
                    })
                    .collect();
                shared.iter().map(|term| term * 2).chain(own.into_iter().map(|term| term + 2)).collect()
            };
            let count = shared.len();
            (side(left, 1), side(right, 0), count)
        })
    }

    proptest! {
        #[test]
        fn row_28_it_is_the_true_common_prefix((left, right, shared) in logs()) {
            let first = Lineage::founded("c", 1);
            let (mine, theirs) = (terms(&left), terms(&right));
            let position = |terms, last_index| Position { lineage: &first, terms, last_index };
            let found = fork_index(position(&mine, left.len() as u64), position(&theirs, right.len() as u64));
            prop_assert_eq!(found, Ok(shared as u64));
            let swapped = fork_index(position(&theirs, right.len() as u64), position(&mine, left.len() as u64));
            prop_assert_eq!(swapped, found);
        }
    }
}
