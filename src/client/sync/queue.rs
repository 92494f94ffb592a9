//! In which order keys are sent: by priority, but every eighth batch begins with the lowest, so that nothing waits for ever.

use std::collections::{BTreeMap, VecDeque};

/// Keys that wait to be sent.
pub(super) struct Queue {
    /// By priority; within one as they came.
    lanes: BTreeMap<i32, VecDeque<String>>,
    batch: u64,
    last: i32,
}

impl Queue {
    pub(super) fn new(keys: Vec<String>, priority: impl Fn(&str) -> i32) -> Self {
        let mut lanes: BTreeMap<i32, VecDeque<String>> = BTreeMap::new();
        for key in keys {
            lanes.entry(priority(&key)).or_default().push_back(key);
        }
        Self { lanes, batch: 0, last: 0 }
    }

    /// Another batch begins.
    pub(super) fn next_batch(&mut self) {
        self.batch += 1;
    }

    pub(super) fn pop(&mut self) -> Option<String> {
        let mut filled = self.lanes.iter_mut().filter(|(_, lane)| !lane.is_empty());
        let (priority, lane) = if self.batch.is_multiple_of(8) { filled.next() } else { filled.next_back() }?;
        self.last = *priority;
        lane.pop_front()
    }

    /// The key that came last found no room: it is the first of its lane again.
    pub(super) fn put_back(&mut self, key: String) {
        self.lanes.entry(self.last).or_default().push_front(key);
    }
}
