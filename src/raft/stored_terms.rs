//! What the entries of a log on disk say about the log itself, when no node runs on it.

use super::codec::decode_entry;
use super::machine::FileMeta;
use super::types::Payload;
use crate::lineage::{Lineage, TermStarts};
use crate::replica::StoredMembership;
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

/// What is known of a log's entries, those that may not be committed included.
pub struct EntriesSurvey {
    /// Of all entries that the log knows of.
    pub terms: TermStarts,
    /// Index of the last entry; 0 if there is none.
    pub last_index: u64,
    /// That of the snapshot, and all later ones, oldest first.
    pub memberships: Vec<StoredMembership>,
}

impl EntriesSurvey {
    /// Reads a snapshot and the log after it. Blocks.
    ///
    /// # Errors
    /// The log or the snapshot cannot be read.
    pub fn of(log: &LogStore, snapshot: Option<&SnapshotFile>) -> io::Result<Self> {
        let mut survey = Self { terms: TermStarts::default(), last_index: 0, memberships: Vec::new() };
        if let Some(file) = snapshot {
            let FileMeta { terms, raft, .. } = FileMeta::decode(&file.meta)?;
            (survey.terms, survey.last_index) = (terms, file.index);
            survey.memberships.push((&raft.last_membership).into());
        }
        let state = log.state();
        survey.last_index = survey.last_index.max(state.first_index.saturating_sub(1));
        let mut next = state.first_index;
        while next < state.end() {
            let records = log.read(next, state.end(), READ_BYTES).map_err(io::Error::other)?;
            for (index, bytes) in records {
                let entry = decode_entry(bytes).map_err(io::Error::from)?;
                let id = entry.log_id();
                survey.terms.note(id.committed_leader_id().term, index);
                (survey.last_index, next) = (survey.last_index.max(index), index + 1);
                if let Payload::Membership(membership) = &entry.payload {
                    let (position, membership) = (Some(id.into()), membership.into());
                    survey.memberships.push(StoredMembership { position, membership });
                }
            }
        }
        Ok(survey)
    }
}
