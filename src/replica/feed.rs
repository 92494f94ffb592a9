//! What was applied lately, for those who watch: a window of changes, bounded in bytes. `apply` puts changes in and waits
//! for nobody; a reader holds nothing here but its place, and comes for more when it likes.
//!
//! The same log gives the same changes, so a place is good on every node.

use super::recent::Operation;
use crate::cache::Event;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use triomphe::ThinArc;

/// What one log entry changed, all of it. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change(ThinArc<At, Event>);

#[derive(Debug, PartialEq, Eq)]
struct At {
    index: u64,
    at_ms: u64,
    by: u64,
    /// Bytes of memory that go when it is dropped, about.
    bytes: usize,
}

impl Change {
    /// The change that the log entry at `index` made at log time `at_ms`; `by` is the node whose client asked, or 0.
    pub fn new(index: u64, at_ms: u64, by: u64, events: Vec<Event>) -> Self {
        let bytes = size_of::<(At, usize, usize)>() + events.iter().map(bytes_of).sum::<usize>();
        Self(ThinArc::from_header_and_iter(At { index, at_ms, by, bytes }, events.into_iter()))
    }

    /// Index of the log entry.
    pub fn index(&self) -> u64 {
        self.0.header.header.index
    }

    /// Log time, in milliseconds since the Unix epoch.
    pub fn at_ms(&self) -> u64 {
        self.0.header.header.at_ms
    }

    /// The node whose client asked for it; `None` for what the cluster does by itself.
    pub fn by(&self) -> Option<u64> {
        Some(self.0.header.header.by).filter(|by| *by > 0)
    }

    /// What happened, in order; at least one event.
    pub fn events(&self) -> &[Event] {
        &self.0.slice
    }

    /// Bytes of memory that it holds, about.
    pub fn bytes(&self) -> usize {
        self.0.header.header.bytes
    }
}

fn bytes_of(event: &Event) -> usize {
    // Two counters before the bytes, or a length.
    const HEAP: usize = 2 * size_of::<usize>();
    let behind = match event {
        Event::Put { record, .. } => HEAP + record.cost() as usize,
        Event::Deadline { key, .. } | Event::Removed { key, .. } => HEAP + key.as_str().len(),
        Event::Cleared { prefix, .. } => HEAP + prefix.as_ref().map_or(0, String::len),
        Event::Configured { config, .. } => size_of_val(&**config),
    };
    size_of::<Event>() + behind
}

/// The window.
pub struct Feed {
    limit: usize,
    window: Mutex<Window>,
}

#[derive(Default)]
struct Window {
    changes: VecDeque<Change>,
    bytes: usize,
    /// Every change after this index, up to `until`, is here.
    after: u64,
    until: u64,
    /// What came before the oldest change, newest first, as far as that is known.
    before: Vec<Operation>,
}

/// Changes that follow a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub changes: Vec<Change>,
    /// Up to this index there is nothing else: the place to come back with.
    pub until: u64,
    /// Whether there are more after that.
    pub more: bool,
}

/// The window has moved past a place: what came after it is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    /// A state of this index or later has all of it.
    pub until: u64,
}

impl Feed {
    /// A window of about so many bytes. It keeps the newest change, however large.
    pub fn new(limit: usize) -> Self {
        Self { limit, window: Mutex::default() }
    }

    /// Takes in what was changed up to `until`, in order. What it forgets is the caller's to drop, once it holds no lock.
    pub(super) fn extend(&self, changes: Vec<Change>, until: u64) -> Vec<Change> {
        let bytes: usize = changes.iter().map(Change::bytes).sum();
        let mut forgotten = Vec::new();
        let mut window = self.window();
        window.bytes += bytes;
        window.changes.extend(changes);
        window.until = until;
        while window.bytes > self.limit && window.changes.len() > 1 {
            let Some(oldest) = window.changes.pop_front() else { break };
            window.bytes -= oldest.bytes();
            window.after = oldest.index();
            window.before.clear();
            forgotten.push(oldest);
        }
        forgotten
    }

    /// Begins anew behind a state that came from elsewhere, with the newest operations before it, newest first.
    pub(super) fn restart(&self, until: u64, before: Vec<Operation>) {
        let new = Window { after: until, until, before, ..Window::default() };
        let old = std::mem::replace(&mut *self.window(), new);
        drop(old);
    }

    /// What follows the index `place`: at most so many changes, and at most so many bytes of them, or one that is larger.
    ///
    /// # Errors
    /// [`Forgotten`]: some of it is no longer here.
    pub fn after(&self, place: u64, most: usize, most_bytes: usize) -> Result<Page, Forgotten> {
        let window = self.window();
        if place < window.after {
            return Err(Forgotten { until: window.until });
        }
        let first = window.changes.partition_point(|change| change.index() <= place);
        let mut bytes = 0;
        let fits = |change: &&Change| {
            let is_first = bytes == 0;
            bytes += change.bytes();
            is_first || bytes <= most_bytes
        };
        let following = window.changes.range(first..).take(most);
        let changes: Vec<Change> = following.take_while(fits).cloned().collect();
        let more = first + changes.len() < window.changes.len();
        // A place in the future stays one.
        let until = match changes.last() {
            Some(last) if more => last.index(),
            _ => window.until.max(place),
        };
        Ok(Page { changes, until, more })
    }

    /// The newest operations, newest first; at most so many.
    pub fn recent(&self, most: usize) -> Vec<Operation> {
        let window = self.window();
        let here = window.changes.iter().rev().flat_map(Operation::of);
        here.chain(window.before.iter().cloned()).take(most).collect()
    }

    /// At which node each of these log entries was asked for, as far as they are in the window.
    pub fn asked_at(&self, indexes: &[u64]) -> Vec<Option<u64>> {
        let window = self.window();
        let find = |index: &u64| match window.changes.binary_search_by_key(index, Change::index) {
            Ok(place) => window.changes[place].by(),
            Err(_) => window.before.iter().find(|operation| operation.index == *index)?.by,
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
    use crate::cache::{Cause, Key};

    fn change(index: u64) -> Change {
        let key = Key::new(&format!("key-{index}")).unwrap();
        Change::new(index, index * 10, 0, vec![Event::Removed { key, cause: Cause::Delete }])
    }

    fn indexes(page: &Page) -> Vec<u64> {
        page.changes.iter().map(Change::index).collect()
    }

    /// F2: from any place, what follows is complete, or it is said that it is not.
    #[test]
    fn a_place_leads_to_all_that_follows_or_to_nothing() {
        let one = change(1_000).bytes();
        let feed = Feed::new(10 * one);
        // Every third entry of the log changes nothing that anybody sees.
        let seen = |index: &u64| !index.is_multiple_of(3);
        for until in 1..=200 {
            feed.extend((until..=until).filter(seen).map(change).collect(), until);
            let kept: Vec<u64> = (1..=until).filter(seen).collect();
            let mut complete = 0;
            for place in 0..=until {
                let wanted: Vec<u64> = kept.iter().copied().filter(|index| *index > place).collect();
                match feed.after(place, 4, 1_000_000) {
                    Ok(mut page) => {
                        let mut got = indexes(&page);
                        while page.until < until {
                            page = feed.after(page.until, 4, 1_000_000).unwrap();
                            got.extend(indexes(&page));
                        }
                        assert_eq!(got, wanted, "from {place} at {until}");
                        complete += 1;
                    }
                    Err(forgotten) => {
                        assert_eq!(forgotten, Forgotten { until });
                        assert_eq!(complete, 0, "what is forgotten is older than what is not");
                        assert!(wanted.len() >= 10, "{} changes fit", wanted.len());
                    }
                }
            }
        }
    }

    #[test]
    fn one_that_is_too_large_is_kept_until_the_next() {
        let feed = Feed::new(1);
        feed.extend(vec![change(5)], 5);
        assert_eq!(indexes(&feed.after(4, 9, 1_000_000).unwrap()), [5]);
        feed.extend(vec![change(6)], 6);
        assert_eq!(feed.after(4, 9, 1_000_000), Err(Forgotten { until: 6 }));
        assert_eq!(indexes(&feed.after(5, 9, 1_000_000).unwrap()), [6]);
    }

    #[test]
    fn a_place_in_the_future_waits_there() {
        let feed = Feed::new(1_000_000);
        feed.extend(vec![change(1)], 1);
        assert_eq!(feed.after(7, 9, 1_000_000), Ok(Page { changes: Vec::new(), until: 7, more: false }));
        feed.extend((2..=8).map(change).collect(), 8);
        assert_eq!(indexes(&feed.after(7, 9, 1_000_000).unwrap()), [8]);
    }

    #[test]
    fn a_page_is_bounded_in_bytes_too_and_never_empty() {
        let feed = Feed::new(1_000_000);
        feed.extend((1..=9).map(change).collect(), 9);
        assert_eq!(indexes(&feed.after(0, 9, 1).unwrap()), [1]);
        let page = feed.after(1, 9, 2 * change(2).bytes() + 1).unwrap();
        assert_eq!((indexes(&page), page.until), (vec![2, 3], 3));
    }

    #[test]
    fn who_asked_is_known_for_as_long_as_the_change_is() {
        let by = |index, by| {
            let key = Key::new("k").unwrap();
            Change::new(index, 0, by, vec![Event::Removed { key, cause: Cause::Delete }])
        };
        let feed = Feed::new(1_000_000);
        feed.extend(vec![by(3, 1), by(5, 0), by(9, 2)], 9);
        assert_eq!(feed.asked_at(&[9, 3, 5, 4, 10]), [Some(2), Some(1), None, None, None]);
        let before = feed.recent(9);
        feed.restart(20, before);
        assert_eq!(feed.asked_at(&[9, 4]), [Some(2), None]);
        feed.extend((21..40_000).map(change).collect(), 40_000);
        assert_eq!(feed.asked_at(&[9]), [None]);
    }

    #[test]
    fn after_a_snapshot_it_begins_behind_it() {
        let feed = Feed::new(1_000_000);
        feed.extend(vec![change(1)], 1);
        feed.restart(100, Vec::new());
        assert_eq!(feed.after(1, 9, 1_000_000), Err(Forgotten { until: 100 }));
        assert_eq!(feed.after(100, 9, 1_000_000), Ok(Page { changes: Vec::new(), until: 100, more: false }));
    }
}
