//! Where a log comes from: the histories of a cluster, where each forked from the one before, and where two logs part.
//!
//! Indexes of different histories cannot be compared, so each history has an id, and begins at an index that no earlier one
//! has reached.

mod fork;
mod history;
mod term_starts;

pub use fork::{ForkError, Position, fork_index};
pub use history::{History, HistoryKind, INDEX_STEP, Lineage, LineageError, Relation};
pub use term_starts::{TERM_STARTS_MAX, TermStart, TermStarts};
