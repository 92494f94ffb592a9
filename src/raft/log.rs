//! openraft's log storage on top of [`LogStore`]. It only encodes and decodes entries.

use super::codec::{decode_entry, encode_entry};
use super::offload::offload;
use super::types::{Entry, LogId, Types, Vote};
use super::voted::Voted;
use super::wire::{WireVote, log_id};
use crate::replica::{LogPosition, from_versioned, to_versioned};
use crate::storage::{LogStore, StorageError};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use tokio::sync::oneshot;

/// Most bytes of entries that `apply` reads at a time. A larger entry is read alone.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The same for one append request: about as much as a follower writes in one flush. Several requests are in flight at
/// a time.
const APPEND_BYTES_MAX: usize = 1024 * 1024;

/// Versions of the formats of what the log stores besides its entries.
const VOTE_VERSION: u8 = 1;
pub(super) const LOG_ID_VERSION: u8 = 1;

/// A vote, as it is stored.
pub(super) fn encode_vote(vote: Vote) -> Bytes {
    to_versioned(VOTE_VERSION, &WireVote::from(vote))
}

/// A log position, as it is stored: the committed or the purged one.
pub(super) fn encode_log_id(log_id: LogId) -> Bytes {
    to_versioned(LOG_ID_VERSION, &LogPosition::from(log_id))
}

pub(super) fn stored_vote(store: &LogStore) -> io::Result<Option<WireVote>> {
    let read = |bytes: Bytes| from_versioned::<WireVote>("the vote", VOTE_VERSION, &bytes);
    Ok(store.state().vote.map(read).transpose()?)
}

/// Implements openraft's log storage. Clones share the log.
#[derive(Clone)]
pub struct Log {
    store: LogStore,
    voted: Voted,
}

impl Log {
    pub fn new(store: LogStore) -> Self {
        // A vote that cannot be read stops the start: openraft reads it, too.
        let voted = Voted::new(stored_vote(&store).ok().flatten());
        Self { store, voted }
    }

    /// The newest vote of this node, which this log keeps current.
    pub(super) fn voted(&self) -> &Voted {
        &self.voted
    }

    async fn flushed(&self, start: impl FnOnce(&LogStore, Callback)) -> io::Result<()> {
        let (done, result) = oneshot::channel();
        start(
            &self.store,
            Box::new(move |result| {
                let _ = done.send(result);
            }),
        );
        match result.await {
            Ok(result) => result.map_err(io::Error::other),
            Err(_) => Err(io::Error::other("the log's writer has stopped")),
        }
    }

    fn stored_log_id(what: &'static str, bytes: Option<Bytes>) -> io::Result<Option<LogId>> {
        let read = |bytes: Bytes| from_versioned::<LogPosition>(what, LOG_ID_VERSION, &bytes);
        Ok(log_id(bytes.map(read).transpose()?))
    }

    /// Entries that are no longer in memory are read on a thread that may block: a follower that was away for long asks for
    /// many of them.
    async fn read(&self, from: u64, to: u64, max_bytes: usize) -> io::Result<Vec<Entry>> {
        let records = if self.store.is_in_memory(from) {
            self.store.read(from, to, max_bytes)
        } else {
            let store = self.store.clone();
            offload(move || store.read(from, to, max_bytes)).await?
        };
        let records = records.map_err(io::Error::other)?;
        records.into_iter().map(|(_, bytes)| decode_entry(bytes).map_err(io::Error::from)).collect()
    }

    /// The part of a range that the log holds, as `[from, to)`.
    fn clamp(&self, range: &impl RangeBounds<u64>) -> (u64, u64) {
        let from = match range.start_bound() {
            Bound::Included(&index) => index,
            Bound::Excluded(&index) => index + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(&index) => index.saturating_add(1),
            Bound::Excluded(&index) => index,
            Bound::Unbounded => u64::MAX,
        };
        let state = self.store.state();
        let end = state.last_index.map_or(state.first_index, |last| last + 1);
        (from.max(state.first_index), to.min(end))
    }
}

type Callback = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (from, to) = self.clamp(&range);
        if from >= to { Ok(Vec::new()) } else { self.read(from, to, usize::MAX).await }
    }

    /// Replication reads with this function, so it bounds the bytes, too, and not only the number of entries. It is no
    /// error if the log was truncated meanwhile: openraft is about to tell the replication task.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let (_, mut end) = self.clamp(&(start..end));
        while start < end {
            let read = self.read(start, end, APPEND_BYTES_MAX).await;
            let (_, end_now) = self.clamp(&(start..end));
            if read.is_ok() || end_now == end {
                return read;
            }
            end = end_now;
        }
        Ok(Vec::new())
    }

    /// `apply` reads with this function, a limited number of bytes at a time.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (from, to) = self.clamp(&range);
        let log = self.clone();
        let pieces = stream::unfold(from, move |from| {
            let log = log.clone();
            async move {
                if from >= to {
                    return None;
                }
                match log.read(from, to, READ_BYTES_MAX).await {
                    Ok(entries) if entries.is_empty() => None,
                    Ok(entries) => {
                        let next = from + entries.len() as u64;
                        Some((entries.into_iter().map(Ok).collect::<Vec<_>>(), next))
                    }
                    Err(error) => Some((vec![Err(error)], to)),
                }
            }
        });
        Box::pin(pieces.map(stream::iter).flatten())
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(stored_vote(&self.store)?.map(Vote::from))
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let state = self.store.state();
        let last_purged_log_id: Option<LogId> =
            Self::stored_log_id("the purge point", state.purged.map(|(_, id)| id))?;
        let last_log_id = match state.last_index {
            Some(last) => self.read(last, last + 1, usize::MAX).await?.first().map(RaftEntry::log_id),
            None => last_purged_log_id,
        };
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.voted.set((*vote).into());
        let bytes = encode_vote(*vote);
        self.flushed(|store, done| store.save_vote(bytes, done)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if let Some(committed) = committed {
            self.store.save_committed(encode_log_id(committed));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Self::stored_log_id("the committed id", self.store.state().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let records = entries.into_iter().map(|entry| (entry.index(), encode_entry(&entry))).collect();
        let done: Callback = Box::new(move |result| callback.io_completed(result.map_err(io::Error::other)));
        self.store.append(records, done).map_err(io::Error::other)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let last = last_log_id.map(|log_id| log_id.index());
        self.flushed(|store, done| store.truncate_after(last, done)).await
    }

    /// Returns before the purge is durable. openraft does nothing else until this returns, and the writes queued before
    /// the purge could take longer than an election timeout. If a crash loses the purge, the log is only longer than
    /// necessary. A failure stops the store.
    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        self.store.purge(log_id.index(), encode_log_id(log_id), Box::new(|_| ()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::LogOptions;
    use crate::storage::LogStoreBuilder;
    use crate::storage::memory_engine::MemoryEngine;
    use futures::FutureExt;
    use std::sync::Arc;

    #[test]
    fn a_purge_does_not_wait_for_the_disk() {
        let store = LogStoreBuilder::new(LogOptions::default())
            .open_stepped(Arc::new(MemoryEngine::default()))
            .expect("a log");
        let mut log = Log::new(store.clone());
        let purged = LogId::new(1.into(), 7);
        // This store writes nothing until `flush_batch` is called.
        assert!(log.purge(purged).now_or_never().is_some_and(|result| result.is_ok()));
        assert!(store.has_work());
        assert_eq!(store.state().purged.map(|(index, _)| index), Some(7), "readers see it at once");
    }
}
