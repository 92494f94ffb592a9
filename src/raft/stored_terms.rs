//! The terms of a log on disk, when no node runs on it.

use super::codec::decode_entry;
use super::machine::FileMeta;
use crate::lineage::{Lineage, TermStarts};
use crate::storage::{LogStore, SnapshotFile};
use openraft::entry::RaftEntry;
use std::io;

/// Bytes of the log that are read at a time.
pub(super) const READ_BYTES: usize = 4 << 20;

/// What a snapshot file says of the log up to its index.
///
/// # Errors
/// Its metadata cannot be read.
pub fn snapshot_terms(file: &SnapshotFile) -> io::Result<(Lineage, TermStarts)> {
    let FileMeta { lineage, terms, .. } = FileMeta::decode(&file.meta)?;
    Ok((lineage, terms))
}

/// The terms of all entries that a folder knows of, those that may not be committed included, and the index of the last one.
/// Blocks.
///
/// # Errors
/// The log or the snapshot cannot be read.
pub fn stored_terms(log: &LogStore, snapshot: Option<&SnapshotFile>) -> io::Result<(TermStarts, u64)> {
    let mut terms = match snapshot {
        Some(file) => snapshot_terms(file)?.1,
        None => TermStarts::default(),
    };
    let state = log.state();
    let mut last = snapshot.map_or(0, |file| file.index).max(state.first_index.saturating_sub(1));
    let mut next = state.first_index;
    while next < state.end() {
        let records = log.read(next, state.end(), READ_BYTES).map_err(io::Error::other)?;
        for (index, bytes) in records {
            let id = decode_entry(bytes).map_err(io::Error::from)?.log_id();
            terms.note(id.committed_leader_id().term, index);
            (last, next) = (last.max(index), index + 1);
        }
    }
    Ok((terms, last))
}
