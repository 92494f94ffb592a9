//! A log that is a queue in memory: what is appended is called durable at once.

use super::{Entry, LogId, Types, Vote};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard};

/// Clones are the same log.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    vote: Option<Vote>,
    purged: Option<LogId>,
    entries: VecDeque<Entry>,
}

impl Inner {
    /// Index of the first entry there is, or will be.
    fn first(&self) -> u64 {
        match self.entries.front() {
            Some(entry) => entry.index(),
            None => self.purged.map_or(0, |log_id| log_id.index() + 1),
        }
    }

    fn position(&self, index: u64) -> usize {
        usize::try_from(index.saturating_sub(self.first())).unwrap_or(usize::MAX).min(self.entries.len())
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no panic while held")
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
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
        let inner = self.lock();
        let (from, to) = (inner.position(from), inner.position(to));
        if from >= to { Ok(Vec::new()) } else { Ok(inner.entries.range(from..to).cloned().collect()) }
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.lock().vote)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let inner = self.lock();
        let last_log_id = inner.entries.back().map(RaftEntry::log_id).or(inner.purged);
        Ok(LogState { last_purged_log_id: inner.purged, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.lock().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        self.lock().entries.extend(entries);
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let mut inner = self.lock();
        let keep = inner.position(last_log_id.map_or(0, |log_id| log_id.index() + 1));
        inner.entries.truncate(keep);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let mut inner = self.lock();
        let gone = inner.position(log_id.index() + 1);
        inner.entries.drain(..gone);
        inner.purged = Some(log_id);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u64) -> LogId {
        LogId::new(1.into(), index)
    }

    #[tokio::test]
    async fn ranges_are_cut_to_what_is_there() {
        let mut log = Log::default();
        log.lock().entries.extend((0..10).map(|index| Entry::new_blank(id(index))));
        assert_eq!(log.try_get_log_entries(3..5).await.expect("memory").len(), 2);
        log.purge(id(3)).await.expect("memory");
        log.truncate_after(Some(id(7))).await.expect("memory");
        let left: Vec<u64> =
            log.try_get_log_entries(..).await.expect("memory").iter().map(RaftEntry::index).collect();
        assert_eq!(left, [4, 5, 6, 7]);
        log.truncate_after(Some(id(3))).await.expect("memory");
        let state = log.get_log_state().await.expect("memory");
        assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(id(3)), Some(id(3))));
    }
}
