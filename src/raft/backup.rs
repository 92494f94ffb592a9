//! Restores a backup: its state becomes the start of a new incarnation, with the same entries at the same index and a
//! membership of one new node.

use super::log::{encode_log_id, encode_vote};
use super::machine::FileMeta;
use super::types::{LogId, RaftStoredMembership, SnapshotMeta, Vote};
use crate::cache::Cache;
use crate::replica::Member;
use crate::storage::{LogStore, SnapshotFile, Snapshots};
use bytes::Bytes;
use openraft::Membership;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::mpsc;

/// An opened backup.
pub struct Backup {
    file: SnapshotFile,
    meta: FileMeta,
    last: LogId,
}

impl Backup {
    /// Reads and verifies the whole backup.
    ///
    /// # Errors
    /// It is damaged, or has no log position.
    pub fn open(file: SnapshotFile) -> io::Result<Self> {
        let meta = FileMeta::decode(&file.meta)?;
        let empty = || io::Error::new(io::ErrorKind::InvalidData, "the backup holds no log position");
        let last = meta.raft.last_log_id.ok_or_else(empty)?;
        Cache::restore(file.body()).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Self { file, meta, last })
    }

    /// The index of its last entry.
    pub fn index(&self) -> u64 {
        self.last.index()
    }

    /// The lineage it was written with.
    pub fn lineage(&self) -> &Bytes {
        &self.meta.lineage
    }

    /// Installs the backup as the snapshot of an empty data folder, with `id` as the only member.
    ///
    /// # Errors
    /// The data folder can't be written.
    pub fn rebase(
        &self,
        log: &LogStore,
        snapshots: &Snapshots,
        lineage: Bytes,
        id: u64,
        member: Member,
    ) -> io::Result<()> {
        let membership = Membership::new(vec![BTreeSet::from([id])], BTreeMap::from([(id, member)]));
        let membership = membership.map_err(io::Error::other)?;
        let last_membership = RaftStoredMembership::new(Some(self.last), membership);
        let raft = SnapshotMeta { last_log_id: Some(self.last), last_membership };
        let meta = FileMeta { raft, lineage, recent: self.meta.recent.clone() }.encode();
        let mut body = self.file.body();
        let copy = |out: &mut dyn io::Write| io::copy(&mut body, out).map(drop);
        snapshots.write(self.last.index(), &meta, copy).map_err(io::Error::other)?;
        // Continue from the backup's term: an entry of an earlier term after it would break the order of the log.
        let vote = encode_vote(Vote::new(self.last.committed_leader_id().term, id));
        durable(|done| log.save_vote(vote, done))?;
        durable(|done| log.purge(self.last.index(), encode_log_id(self.last), done))
    }
}

fn durable(start: impl FnOnce(crate::storage::Callback)) -> io::Result<()> {
    let (done, result) = mpsc::channel();
    start(Box::new(move |outcome| {
        let _ = done.send(outcome);
    }));
    result.recv().map_err(io::Error::other)?.map_err(io::Error::other)
}
