//! The newest changes, for watchers: a window of the log's visible effects, bounded in bytes. `apply` appends to it and
//! never waits for a reader. A reader keeps only a cursor and pulls the next page when it is ready.
//!
//! The same log produces the same changes on every node, so a cursor is valid on every node.

use super::client_names::{ClientNames, OldNodeOperation};
use super::operation::Operation;
use crate::cache::Event;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use triomphe::ThinArc;

/// All changes that one log entry made. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeSet(ThinArc<Header, Event>);

#[derive(Debug, PartialEq, Eq)]
struct Header {
    index: u64,
    at_ms: u64,
    by: u64,
    names: Option<Box<ClientNames>>,
    /// About how many bytes of memory are freed when it is dropped.
    bytes: usize,
}

impl ChangeSet {
    /// The changes that the log entry at `index` made at log time `at_ms`; `by` is the node whose client requested them, or
    /// 0.
    pub fn new(index: u64, at_ms: u64, by: u64, names: Option<Box<ClientNames>>, events: Vec<Event>) -> Self {
        let bytes = size_of::<(Header, usize, usize)>()
            + names.as_ref().map_or(0, |names| names.bytes())
            + events.iter().map(bytes_of).sum::<usize>();
        Self(ThinArc::from_header_and_iter(Header { index, at_ms, by, names, bytes }, events.into_iter()))
    }

    /// Index of the log entry.
    pub fn index(&self) -> u64 {
        self.0.header.header.index
    }

    /// Log time, in milliseconds since the Unix epoch.
    pub fn at_ms(&self) -> u64 {
        self.0.header.header.at_ms
    }

    /// The node whose client requested it; `None` for what the cluster does by itself.
    pub fn by(&self) -> Option<u64> {
        Some(self.0.header.header.by).filter(|by| *by > 0)
    }

    /// What the client called itself and its request; `None` if it did neither.
    pub fn names(&self) -> Option<&ClientNames> {
        self.0.header.header.names.as_deref()
    }

    /// The operation of a node of the original server, if it is one.
    pub fn old_node_operation(&self) -> Option<&OldNodeOperation> {
        self.names()?.old_node_operation.as_ref()
    }

    /// The history of the other side of a fork whose changes these are, if they were brought in by a merge.
    pub fn merged_from(&self) -> Option<&str> {
        match self.events().first() {
            Some(Event::Merged { history }) => Some(history),
            _ => None,
        }
    }

    /// The events in order; at least one.
    pub fn events(&self) -> &[Event] {
        &self.0.slice
    }

    /// About how many bytes of memory it holds.
    pub fn bytes(&self) -> usize {
        self.0.header.header.bytes
    }
}

fn bytes_of(event: &Event) -> usize {
    // An allocation starts with two counters, or with a counter and a length.
    const HEAP: usize = 2 * size_of::<usize>();
    let behind = match event {
        Event::Put { record, .. } => HEAP + record.cost() as usize,
        Event::Deadline { key, .. } | Event::Removed { key, .. } => HEAP + key.as_str().len(),
        Event::Cleared { prefix, .. } => HEAP + prefix.as_ref().map_or(0, String::len),
        Event::Configured { config, .. } => size_of_val(&**config),
        Event::Merged { history } => HEAP + history.len(),
        Event::SessionOpened { session } | Event::SessionEnded { session, .. } => {
            size_of_val(&**session) + HEAP + session.name.as_str().len()
        }
        Event::Locked { lock } | Event::Unlocked { lock } => {
            size_of_val(&**lock) + HEAP + lock.name.as_str().len()
        }
        Event::Message { channel, message } => 2 * HEAP + channel.as_str().len() + message.len(),
    };
    size_of::<Event>() + behind
}

/// Of these, what somebody else has too.
fn shared_bytes_of(event: &Event) -> usize {
    match event {
        Event::Put { record, .. } if record.is_shared() => record.cost() as usize,
        _ => 0,
    }
}

/// About how many changes are looked at to estimate their memory.
const SAMPLED: usize = 128;

/// The newest changes, up to a limit in bytes.
pub struct ChangeLog {
    bytes_max: usize,
    window: Mutex<Window>,
}

#[derive(Default)]
struct Window {
    changes: VecDeque<ChangeSet>,
    bytes: usize,
    /// The window has every change after index `start`, up to and including index `end`.
    start: u64,
    end: u64,
    /// Operations older than the oldest change, newest first, as far as they are known.
    older: Vec<Operation>,
}

/// The changes that follow a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub changes: Vec<ChangeSet>,
    /// The page has every change up to this index: ask for the next page with it.
    pub next_cursor: u64,
    /// Whether the window has more changes after `next_cursor`.
    pub more: bool,
}

/// Some of the changes after a cursor are no longer in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// A state of this index or later contains them all.
    pub up_to: u64,
}

impl ChangeLog {
    /// A window of about `bytes_max` bytes. It always keeps the newest change, even a larger one.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, window: Mutex::default() }
    }

    /// Appends the changes up to index `end`, in order. Returns those that left the window: the caller drops them once
    /// it holds no lock.
    pub(super) fn extend(&self, changes: Vec<ChangeSet>, end: u64) -> Vec<ChangeSet> {
        let bytes: usize = changes.iter().map(ChangeSet::bytes).sum();
        let mut removed = Vec::new();
        let mut window = self.window();
        window.bytes += bytes;
        window.changes.extend(changes);
        window.end = end;
        while window.bytes > self.bytes_max && window.changes.len() > 1 {
            let Some(oldest) = window.changes.pop_front() else { break };
            window.bytes -= oldest.bytes();
            window.start = oldest.index();
            window.older.clear();
            removed.push(oldest);
        }
        removed
    }

    /// Starts over at index `end`, after a snapshot was installed. `older` are the newest operations before it, newest
    /// first.
    pub(super) fn restart(&self, end: u64, older: Vec<Operation>) {
        let new = Window { start: end, end, older, ..Window::default() };
        let old = std::mem::replace(&mut *self.window(), new);
        drop(old);
    }

    /// The changes after the index `cursor`: at most `max`, of at most `bytes_max` bytes together. The first one is
    /// returned even if it is larger than that.
    ///
    /// # Errors
    /// [`Compacted`]: some of them are no longer in the window.
    pub fn after(&self, cursor: u64, max: usize, bytes_max: usize) -> Result<Page, Compacted> {
        let window = self.window();
        if cursor < window.start {
            return Err(Compacted { up_to: window.end });
        }
        let first = window.changes.partition_point(|change| change.index() <= cursor);
        let mut bytes = 0;
        let fits = |change: &&ChangeSet| {
            let is_first = bytes == 0;
            bytes += change.bytes();
            is_first || bytes <= bytes_max
        };
        let following = window.changes.range(first..).take(max);
        let changes: Vec<ChangeSet> = following.take_while(fits).cloned().collect();
        let more = first + changes.len() < window.changes.len();
        // A cursor ahead of this node stays where it is.
        let next_cursor = match changes.last() {
            Some(last) if more => last.index(),
            _ => window.end.max(cursor),
        };
        Ok(Page { changes, next_cursor, more })
    }

    /// About how many bytes of memory the changes take, without the values that they share with the cache. How large that
    /// part is, is estimated from a sample.
    pub fn memory(&self) -> u64 {
        let window = self.window();
        let stride = window.changes.len() / SAMPLED + 1;
        let (mut sampled, mut shared) = (1, 0);
        for change in window.changes.iter().step_by(stride) {
            sampled += change.bytes() as u64;
            shared += change.events().iter().map(shared_bytes_of).sum::<usize>() as u64;
        }
        let bytes = window.bytes as u64;
        bytes - (u128::from(bytes) * u128::from(shared) / u128::from(sampled)) as u64
    }

    /// The newest operations, newest first; at most `max`.
    pub fn recent(&self, max: usize) -> Vec<Operation> {
        let window = self.window();
        let newest = window.changes.iter().rev().flat_map(Operation::of);
        newest.chain(window.older.iter().cloned()).take(max).collect()
    }

    /// The node at which each of these log entries was requested, as far as they are in the window.
    pub fn asked_at(&self, indexes: &[u64]) -> Vec<Option<u64>> {
        let window = self.window();
        let find = |index: &u64| match window.changes.binary_search_by_key(index, ChangeSet::index) {
            Ok(position) => window.changes[position].by(),
            Err(_) => window.older.iter().find(|operation| operation.index == *index)?.by,
        };
        indexes.iter().map(find).collect()
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().expect("nothing panics while it is held")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Cause, Key, Record};

    fn change(index: u64) -> ChangeSet {
        let key = Key::new(&format!("key-{index}")).unwrap();
        ChangeSet::new(index, index * 10, 0, None, vec![Event::Removed { key, cause: Cause::Delete }])
    }

    fn indexes(page: &Page) -> Vec<u64> {
        page.changes.iter().map(ChangeSet::index).collect()
    }

    /// F2: after any cursor the changes are complete, or the reader gets an error.
    #[test]
    fn a_cursor_leads_to_every_later_change_or_to_an_error() {
        let one = change(1_000).bytes();
        let change_log = ChangeLog::new(10 * one);
        // Every third log entry makes no visible change.
        let seen = |index: &u64| !index.is_multiple_of(3);
        for end in 1..=200 {
            change_log.extend((end..=end).filter(seen).map(change).collect(), end);
            let kept: Vec<u64> = (1..=end).filter(seen).collect();
            let mut complete = 0;
            for cursor in 0..=end {
                let wanted: Vec<u64> = kept.iter().copied().filter(|index| *index > cursor).collect();
                match change_log.after(cursor, 4, 1_000_000) {
                    Ok(mut page) => {
                        let mut got = indexes(&page);
                        while page.next_cursor < end {
                            page = change_log.after(page.next_cursor, 4, 1_000_000).unwrap();
                            got.extend(indexes(&page));
                        }
                        assert_eq!(got, wanted, "from {cursor} at {end}");
                        complete += 1;
                    }
                    Err(compacted) => {
                        assert_eq!(compacted, Compacted { up_to: end });
                        assert_eq!(complete, 0, "the oldest changes are removed first");
                        assert!(wanted.len() >= 10, "{} changes fit", wanted.len());
                    }
                }
            }
        }
    }

    #[test]
    fn a_change_that_is_too_large_is_kept_until_the_next_one() {
        let change_log = ChangeLog::new(1);
        change_log.extend(vec![change(5)], 5);
        assert_eq!(indexes(&change_log.after(4, 9, 1_000_000).unwrap()), [5]);
        change_log.extend(vec![change(6)], 6);
        assert_eq!(change_log.after(4, 9, 1_000_000), Err(Compacted { up_to: 6 }));
        assert_eq!(indexes(&change_log.after(5, 9, 1_000_000).unwrap()), [6]);
    }

    /// Half of the values are still in the cache.
    #[test]
    fn values_that_the_cache_has_are_not_counted_twice() {
        let change_log = ChangeLog::new(100_000_000);
        let key = Key::new("k").unwrap();
        let records: Vec<Record> = (0..2_000).map(|_| Record::new(&key, &[7; 1_000], None, None)).collect();
        let put = |record: &Record, index| {
            let event = Event::Put {
                record: record.clone(),
                expires_at_ms: None,
                sliding_ms: 0,
                created: true,
                version: 1,
                created_at_ms: 1,
                modified_at_ms: 1,
            };
            ChangeSet::new(index, 1, 0, None, vec![event])
        };
        change_log.extend(records.iter().zip(1..).map(|(record, index)| put(record, index)).collect(), 2_000);
        let (all, values) = (change_log.window().bytes as u64, 2_000 * 1_001);
        assert!(change_log.memory() < all - values + all / 1_000, "every value is shared");
        let kept: Vec<Record> =
            records.into_iter().enumerate().filter(|(at, _)| at % 3 == 0).map(|(_, kept)| kept).collect();
        let expected = all - values / 3;
        assert!(change_log.memory().abs_diff(expected) < all / 10, "{} and {expected}", change_log.memory());
        drop(kept);
        assert_eq!(change_log.memory(), all, "nothing is shared");
    }

    #[test]
    fn a_cursor_in_the_future_stays_there() {
        let change_log = ChangeLog::new(1_000_000);
        change_log.extend(vec![change(1)], 1);
        assert_eq!(
            change_log.after(7, 9, 1_000_000),
            Ok(Page { changes: Vec::new(), next_cursor: 7, more: false })
        );
        change_log.extend((2..=8).map(change).collect(), 8);
        assert_eq!(indexes(&change_log.after(7, 9, 1_000_000).unwrap()), [8]);
    }

    #[test]
    fn a_page_is_bounded_in_bytes_too_and_never_empty() {
        let change_log = ChangeLog::new(1_000_000);
        change_log.extend((1..=9).map(change).collect(), 9);
        assert_eq!(indexes(&change_log.after(0, 9, 1).unwrap()), [1]);
        let page = change_log.after(1, 9, 2 * change(2).bytes() + 1).unwrap();
        assert_eq!((indexes(&page), page.next_cursor), (vec![2, 3], 3));
    }

    #[test]
    fn the_requesting_node_is_known_for_as_long_as_the_change_is() {
        let by = |index, by| {
            let key = Key::new("k").unwrap();
            ChangeSet::new(index, 0, by, None, vec![Event::Removed { key, cause: Cause::Delete }])
        };
        let change_log = ChangeLog::new(1_000_000);
        change_log.extend(vec![by(3, 1), by(5, 0), by(9, 2)], 9);
        assert_eq!(change_log.asked_at(&[9, 3, 5, 4, 10]), [Some(2), Some(1), None, None, None]);
        let before = change_log.recent(9);
        change_log.restart(20, before);
        assert_eq!(change_log.asked_at(&[9, 4]), [Some(2), None]);
        change_log.extend((21..40_000).map(change).collect(), 40_000);
        assert_eq!(change_log.asked_at(&[9]), [None]);
    }

    #[test]
    fn after_a_snapshot_the_window_starts_at_its_index() {
        let change_log = ChangeLog::new(1_000_000);
        change_log.extend(vec![change(1)], 1);
        change_log.restart(100, Vec::new());
        assert_eq!(change_log.after(1, 9, 1_000_000), Err(Compacted { up_to: 100 }));
        assert_eq!(
            change_log.after(100, 9, 1_000_000),
            Ok(Page { changes: Vec::new(), next_cursor: 100, more: false })
        );
    }
}
