//! A bounded buffer of reads, by entry. Reads beyond the limit are dropped, which is allowed: they are hints for
//! eviction.

use crate::cache::{EntryId, Touch};
use rustc_hash::FxHashMap;

/// Reads of different entries, in the order of their last use.
#[derive(Debug, Default)]
pub(super) struct TouchBuffer {
    reads: FxHashMap<EntryId, Reads>,
    uses: i64,
    /// Counts entries that were put back; they come before the others.
    put_back: i64,
}

#[derive(Debug, Clone, Copy)]
struct Reads {
    count: u16,
    last: i64,
}

impl TouchBuffer {
    /// Adds reads of an entry; false if the buffer has `max` other entries already.
    pub fn add(&mut self, touch: Touch, max: usize) -> bool {
        self.uses += 1;
        let last = self.uses;
        if let Some(reads) = self.reads.get_mut(&touch.entry) {
            *reads = Reads { count: reads.count.saturating_add(touch.count), last };
            return true;
        }
        let has_room = self.reads.len() < max;
        if has_room {
            self.reads.insert(touch.entry, Reads { count: touch.count, last });
        }
        has_room
    }

    /// Puts reads back that were taken out, oldest first. They come before those that were added since. Returns the
    /// number of entries that do not fit.
    pub fn put_back(&mut self, touches: &[Touch], max: usize) -> usize {
        let mut lost = 0;
        for touch in touches.iter().rev() {
            if let Some(reads) = self.reads.get_mut(&touch.entry) {
                reads.count = reads.count.saturating_add(touch.count);
            } else if self.reads.len() < max {
                self.put_back += 1;
                self.reads.insert(touch.entry, Reads { count: touch.count, last: -self.put_back });
            } else {
                lost += 1;
            }
        }
        lost
    }

    /// Removes `touch.count` reads of an entry, or all if there are fewer.
    pub fn subtract(&mut self, touch: Touch) {
        if let Some(reads) = self.reads.get_mut(&touch.entry) {
            reads.count = reads.count.saturating_sub(touch.count);
            if reads.count == 0 {
                self.reads.remove(&touch.entry);
            }
        }
    }

    /// The number of reads of an entry in the buffer.
    pub fn count_of(&self, entry: EntryId) -> u16 {
        self.reads.get(&entry).map_or(0, |reads| reads.count)
    }

    pub fn is_empty(&self) -> bool {
        self.reads.is_empty()
    }

    pub fn len(&self) -> usize {
        self.reads.len()
    }

    /// Takes out at most `max` entries, those with the oldest last use first.
    pub fn take(&mut self, max: usize) -> Vec<Touch> {
        if max == 0 {
            return Vec::new();
        }
        let mut all: Vec<(EntryId, Reads)> = std::mem::take(&mut self.reads).into_iter().collect();
        all.sort_unstable_by_key(|(_, reads)| reads.last);
        self.reads.extend(all.drain(max.min(all.len())..));
        all.into_iter().map(|(entry, reads)| Touch { entry, count: reads.count }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(slot: u32, count: u16) -> Touch {
        Touch { entry: EntryId { slot, generation: 0 }, count }
    }

    #[test]
    fn reads_are_merged_in_the_order_of_their_last_use() {
        let mut buffer = TouchBuffer::default();
        for (slot, count) in [(1, 1), (2, 1), (1, 2), (3, u16::MAX), (3, 5)] {
            assert!(buffer.add(touch(slot, count), 3));
        }
        assert_eq!(buffer.take(2), [touch(2, 1), touch(1, 3)]);
        assert_eq!(buffer.take(2), [touch(3, u16::MAX)]);
        assert_eq!(buffer.take(2), []);
        assert!(buffer.add(touch(1, 1), 3));
        assert_eq!((buffer.take(0), buffer.len()), (vec![], 1));
    }

    #[test]
    fn a_full_buffer_accepts_only_reads_of_its_entries() {
        let mut buffer = TouchBuffer::default();
        assert!(buffer.add(touch(1, 1), 1));
        assert!(!buffer.add(touch(2, 1), 1));
        assert!(buffer.add(touch(1, 1), 1));
        assert_eq!((buffer.len(), buffer.take(9)), (1, vec![touch(1, 2)]));
    }
}
