//! openraft's state machine on top of [`Replica`] and [`Snapshots`].

use super::offload::offload;
use super::types::{Entry, LogId, Payload, RaftStoredMembership, SnapshotMeta, Types};
use super::wire::{WireSnapshotMeta, log_id};
use crate::cache::{Cache, RestoreError};
use crate::lineage::{Lineage, TermStarts};
use crate::replica::{
    CodecError, Committed, Content, Operation, Replica, ReplicaSnapshot, from_versioned, to_versioned,
};
use crate::storage::{ReceivedSnapshot, SnapshotFile, Snapshots, StorageError, WeakSnapshots};
use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Most entries, and about how many bytes of them, that are taken from the log at a time. Less than all that wait would be
/// answered in parts, and the next batch of proposals would begin with a part of the callers.
const BATCH_ENTRIES: usize = 1_024;
const BATCH_BYTES: usize = 256 * 1024;
/// Bytes copied at a time from a snapshot file of another folder.
const COPY_BYTES: usize = 1024 * 1024;

/// The first pause before a snapshot that could not be written is tried again. It doubles each time, up to the maximum.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);

/// A snapshot as openraft handles it: an installed one, or one that a leader has just sent.
pub enum SnapshotData {
    Current(SnapshotFile),
    Received(ReceivedSnapshot),
}

pub type Snapshot = openraft::type_config::alias::SnapshotOf<Types, SnapshotData>;

/// Implements openraft's state machine.
pub struct Machine {
    replica: Arc<Replica>,
    snapshots: Snapshots,
    lineage: Arc<Lineage>,
}

impl Machine {
    /// Every snapshot contains the lineage, and one of another history is refused.
    pub fn new(replica: Arc<Replica>, snapshots: Snapshots, lineage: Arc<Lineage>) -> Self {
        Self { replica, snapshots, lineage }
    }
}

impl From<Entry> for Committed {
    fn from(entry: Entry) -> Self {
        let content = match entry.payload {
            Payload::Blank => Content::Blank,
            Payload::Normal(proposal) => Content::Command(proposal),
            Payload::Membership(membership) => Content::Membership((&membership).into()),
        };
        Self { position: entry.log_id.into(), content }
    }
}

/// Entries that are applied together, each with its responder if a caller waits for it.
#[derive(Default)]
struct Batch {
    entries: Vec<Committed>,
    responders: Vec<Option<ApplyResponder<Types>>>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, entry: Entry, responder: Option<ApplyResponder<Types>>) {
        let entry = Committed::from(entry);
        if let Content::Command(proposal) = &entry.content {
            self.bytes += proposal.body.len();
        }
        self.entries.push(entry);
        self.responders.push(responder);
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= BATCH_ENTRIES || self.bytes >= BATCH_BYTES
    }
}

/// The version of the format of [`FileMeta`].
const SNAPSHOT_META_VERSION: u8 = 1;

/// The metadata of a snapshot file.
pub(super) struct FileMeta {
    pub raft: SnapshotMeta,
    pub lineage: Lineage,
    /// The terms of the entries up to it.
    pub terms: TermStarts,
    /// The newest operations, newest first.
    pub recent: Vec<Operation>,
}

impl FileMeta {
    pub fn encode(&self) -> Bytes {
        let stored = StoredMeta {
            raft: (&self.raft).into(),
            lineage: self.lineage.clone(),
            terms: self.terms.clone(),
            recent: self.recent.clone(),
        };
        to_versioned(SNAPSHOT_META_VERSION, &stored)
    }

    /// # Errors
    /// The bytes are not such metadata.
    pub fn decode(bytes: &[u8]) -> io::Result<Self> {
        let what = "a snapshot's metadata";
        let StoredMeta { raft, lineage, terms, recent } = from_versioned(what, SNAPSHOT_META_VERSION, bytes)?;
        let malformed = |error| CodecError::Malformed { what, reason: format!("{error}") };
        Ok(Self { raft: raft.try_into().map_err(malformed)?, lineage, terms, recent })
    }
}

impl FileMeta {
    /// # Errors
    /// The snapshot is one of another history.
    fn belongs_to(&self, lineage: &Lineage) -> io::Result<()> {
        if self.lineage == *lineage {
            return Ok(());
        }
        let (here, there) = (lineage.current(), self.lineage.current());
        let reason = format!(
            "the snapshot belongs to history {} ({}), and this node to history {} ({})",
            there.number, there.id, here.number, here.id
        );
        Err(io::Error::new(io::ErrorKind::InvalidData, reason))
    }
}

/// [`FileMeta`] as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredMeta {
    raft: WireSnapshotMeta,
    lineage: Lineage,
    terms: TermStarts,
    recent: Vec<Operation>,
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, RaftStoredMembership)> {
        let (last_applied, membership) = self.replica.applied_state();
        Ok((log_id(last_applied), membership.try_into().map_err(io::Error::other)?))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + Send,
    {
        let mut entries = entries.fuse();
        while let Some(first) = entries.next().await {
            // Add the entries that are ready, up to the limits of a batch.
            let mut batch = Batch::default();
            let mut next = Some(first);
            let (mut read, mut full) = (Ok(()), false);
            while let Some(item) = next {
                match item {
                    Ok((entry, responder)) => batch.push(entry, responder),
                    Err(error) => read = Err(error),
                }
                full = read.is_err() || batch.is_full();
                next = if full { None } else { entries.next().now_or_never().flatten() };
            }
            let (mut decoded, decodable) = self.replica.decode(batch.entries);
            let mut responders = batch.responders.into_iter();
            #[cfg(feature = "sabotage")]
            crate::sabotage::delay_apply().await;
            while !decoded.is_empty() {
                // Only after `apply` has announced the new index: a client that reads from this node right after its
                // write must find it.
                for response in self.replica.apply(&mut decoded) {
                    if let Some(Some(responder)) = responders.next() {
                        responder.send(response);
                    }
                }
                if full || !decoded.is_empty() {
                    // A long backlog does not keep this thread from everybody else.
                    tokio::task::yield_now().await;
                }
            }
            decodable?;
            read?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let (replica, snapshots) = (Arc::downgrade(&self.replica), self.snapshots.downgrade());
        Builder { replica, snapshots, lineage: self.lineage.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: SnapshotData) -> io::Result<()> {
        let (snapshots, replica, lineage) =
            (self.snapshots.clone(), self.replica.clone(), self.lineage.clone());
        let (cache, file) = offload(move || -> io::Result<_> {
            // One of another history must not take the place of the current one.
            let meta = FileMeta::decode(match &data {
                SnapshotData::Current(file) => &file.meta,
                SnapshotData::Received(received) => received.meta(),
            })?;
            meta.belongs_to(&lineage)?;
            // Install the file first: the state in memory must never be newer than what a restart would find.
            let file = match data {
                SnapshotData::Current(file) if is_current(&snapshots, &file) => file,
                SnapshotData::Current(file) => {
                    let copy = copy_of(&snapshots, &file)?;
                    snapshots.install(copy).map_err(io::Error::other)?
                }
                SnapshotData::Received(received) => snapshots.install(received).map_err(io::Error::other)?,
            };
            let cache = restore(&file)?;
            replica.check_level(&cache)?;
            Ok((cache, meta))
        })
        .await??;
        if Some(cache.index()) != meta.last_log_id.map(|log_id| log_id.index()) {
            let wrong =
                format!("a snapshot's state is at index {}, its metadata says otherwise", cache.index());
            return Err(io::Error::new(io::ErrorKind::InvalidData, wrong));
        }
        let index = cache.index();
        let membership = (&meta.last_membership).into();
        self.replica.replace(cache, log_id(meta.last_log_id), membership, file.terms, file.recent);
        tracing::info!(index, "installed a snapshot");
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let Some(file) = self.snapshots.current() else { return Ok(None) };
        let meta = FileMeta::decode(&file.meta)?.raft;
        Ok(Some(Snapshot { meta, snapshot: SnapshotData::Current(file) }))
    }
}

fn is_current(snapshots: &Snapshots, file: &SnapshotFile) -> bool {
    snapshots.current().is_some_and(|current| current.path == file.path && current.index == file.index)
}

/// Copies a snapshot file of another data folder into this one.
fn copy_of(snapshots: &Snapshots, file: &SnapshotFile) -> io::Result<ReceivedSnapshot> {
    let mut copy = snapshots.receive().map_err(io::Error::other)?;
    let mut offset = 0;
    while offset < file.bytes {
        let chunk = file.raw_chunk(offset, COPY_BYTES)?;
        copy.write(&chunk).map_err(io::Error::other)?;
        offset += chunk.len() as u64;
    }
    copy.finish().map_err(io::Error::other)
}

fn restore(file: &SnapshotFile) -> io::Result<Cache> {
    Cache::restore(file.body()).map_err(|error| match error {
        // Another program can read it, or another attempt.
        RestoreError::Version(_) | RestoreError::FeatureLevel(_) => {
            io::Error::new(io::ErrorKind::InvalidData, error)
        }
        RestoreError::Io(error) if error.kind() != io::ErrorKind::InvalidData => error,
        // Reading is what checks the file.
        damage => io::Error::new(io::ErrorKind::InvalidData, file.refused(&damage)),
    })
}

/// Takes a view of the state, then writes it on another thread while `apply` continues.
pub struct Builder {
    replica: Weak<Replica>,
    snapshots: WeakSnapshots,
    lineage: Arc<Lineage>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotData;

    /// Tries again later if a snapshot cannot be written for want of file descriptors or disk space. Until then the log
    /// is longer, and nothing is lost. An error here would stop the node.
    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let mut pause = RETRY_PAUSE;
        loop {
            match self.try_build().await? {
                Ok(snapshot) => return Ok(snapshot),
                Err(error) => {
                    tracing::warn!(%error, ?pause, "cannot write a snapshot; it is tried again later")
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }
}

impl Builder {
    /// Tries once. After the inner error the caller can try again; the outer one stops the node.
    async fn try_build(&self) -> io::Result<Result<Snapshot, StorageError>> {
        // Strong references only during an attempt, so that a node that stops need not wait for the next one.
        let stopping = || io::Error::other("the node is stopping");
        let snapshots = self.snapshots.upgrade().ok_or_else(stopping)?;
        let ReplicaSnapshot { cache, last_applied, membership, terms, recent } =
            self.replica.upgrade().ok_or_else(stopping)?.snapshot();
        let last_membership = membership.try_into().map_err(io::Error::other)?;
        let meta = SnapshotMeta { last_log_id: log_id(last_applied), last_membership };
        let lineage = Lineage::clone(&self.lineage);
        let bytes = FileMeta { raft: meta.clone(), lineage, terms, recent }.encode();
        let index = last_applied.map_or(0, |position| position.index);
        let writer = snapshots.clone();
        let writing = move || writer.write(index, &bytes, |mut out| cache.encode(&mut out));
        match offload(writing).await? {
            Ok(file) => {
                tracing::info!(index, bytes = file.bytes, "wrote a snapshot");
                Ok(Ok(Snapshot { meta, snapshot: SnapshotData::Current(file) }))
            }
            // A newer snapshot from the leader was installed meanwhile: return that one.
            Err(StorageError::Superseded { .. }) => {
                let gone = || io::Error::other("the newer snapshot is gone");
                let file = snapshots.current().ok_or_else(gone)?;
                let meta = FileMeta::decode(&file.meta)?.raft;
                Ok(Ok(Snapshot { meta, snapshot: SnapshotData::Current(file) }))
            }
            Err(error @ StorageError::Io { .. }) => Ok(Err(error)),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}
