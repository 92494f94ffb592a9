//! The start of a new history: the state that a log or a backup comes to, with the same entries, at an index that no earlier
//! history has reached, and a membership of one new node.

use super::log::{encode_log_id, encode_vote};
use super::machine::FileMeta;
use super::stored_log::StoredLogCopy;
use super::types::{LogId, RaftStoredMembership, SnapshotMeta, Vote};
use crate::cache::Cache;
use crate::lineage::{Lineage, TermStarts};
use crate::replica::{Member, Operation};
use crate::storage::{LogStore, SnapshotFile, Snapshots};
use openraft::Membership;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::mpsc;

/// A state from which a new history can begin.
pub struct HistoryStart {
    lineage: Lineage,
    terms: TermStarts,
    recent: Vec<Operation>,
    /// Its last entry.
    last: LogId,
    cache: Cache,
}

impl HistoryStart {
    /// Reads and verifies a whole backup. Blocks.
    ///
    /// # Errors
    /// It is damaged, or has no log position.
    pub fn of_backup(file: SnapshotFile) -> io::Result<Self> {
        let FileMeta { raft, lineage, terms, recent } = FileMeta::decode(&file.meta)?;
        let empty = || io::Error::new(io::ErrorKind::InvalidData, "the backup holds no log position");
        let last = raft.last_log_id.ok_or_else(empty)?;
        let cache =
            Cache::restore(file.body()).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Self { lineage, terms, recent, last, cache })
    }

    /// The state after the entry `until` of a log, or after its last one if it ends before, whether that is committed or not.
    /// Blocks.
    ///
    /// # Errors
    /// The log or its snapshot cannot be read, or the log does not have such an entry.
    pub fn of_log(log: &StoredLogCopy, until: u64) -> io::Result<Self> {
        let until = log.last_index.min(until);
        let unknown = || io::Error::new(io::ErrorKind::InvalidData, format!("the log has no entry {until}"));
        let last = log.terms.at(until).filter(|_| until >= log.snapshot_index()).ok_or_else(unknown)?;
        let last = LogId::new(last.term.into(), until);
        let recent = match log.snapshot() {
            Some(file) => FileMeta::decode(&file.meta)?.recent,
            None => Vec::new(),
        };
        let (lineage, terms) = (log.lineage.clone(), log.terms.until(until));
        Ok(Self { lineage, terms, recent, last, cache: log.state(until)? })
    }

    /// The index of its last entry.
    pub fn index(&self) -> u64 {
        self.last.index()
    }

    /// The highest index that the state has heard of, of whatever history.
    pub fn heard_of(&self) -> u64 {
        self.cache.highest_index()
    }

    /// Forgets all tokens. Returns whether requests need one.
    pub fn drop_tokens(&mut self) -> bool {
        self.cache.drop_tokens();
        self.cache.tokens().are_required()
    }

    /// The histories that it comes from.
    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// Installs it as the snapshot of an empty data folder, as the start of the lineage's current history, with `id` as the
    /// only member. Durable when this returns. Blocks.
    ///
    /// # Errors
    /// The data folder can't be written.
    pub fn install(
        mut self,
        log: &LogStore,
        snapshots: &Snapshots,
        lineage: Lineage,
        id: u64,
        member: Member,
    ) -> io::Result<()> {
        let start = lineage.current().start_index;
        self.cache.advance(start);
        self.cache.drop_join_tokens();
        // A node that leaves on purpose has had the fork opened that the others need.
        self.cache.close_fork(&lineage.current().id);
        // The side that was left may come back one day. If too many forks are open, it will be known less exactly.
        self.cache.open_fork(&self.lineage.current().id);
        // Continue from the last entry's term: an entry of an earlier term after it would break the order of the log.
        let leader = *self.last.committed_leader_id();
        let last = LogId::new(leader, start);
        let membership = Membership::new(vec![BTreeSet::from([id])], BTreeMap::from([(id, member)]));
        let membership = membership.map_err(io::Error::other)?;
        let last_membership = RaftStoredMembership::new(Some(last), membership);
        let raft = SnapshotMeta { last_log_id: Some(last), last_membership };
        let Self { terms, recent, .. } = self;
        let meta = FileMeta { raft, lineage, terms, recent }.encode();
        let view = self.cache.snapshot_view();
        snapshots.write(start, &meta, |mut out| view.encode(&mut out)).map_err(io::Error::other)?;
        let vote = encode_vote(Vote::new(leader.term, id));
        durable(|done| log.save_vote(vote, done))?;
        durable(|done| log.purge(start, encode_log_id(last), done))
    }
}

fn durable(start: impl FnOnce(crate::storage::Callback)) -> io::Result<()> {
    let (done, result) = mpsc::channel();
    start(Box::new(move |outcome| {
        let _ = done.send(outcome);
    }));
    result.recv().map_err(io::Error::other)?.map_err(io::Error::other)
}
