//! What a near cache holds, up to a number of keys and a size. When it is full it evicts what was not used since it last looked
//! ("clock", or second chance: Corbató, "A paging experiment with the Multics system", 1968): a hit only sets a flag.

use super::freshness::LocalTime;
use super::options::Held;
use indexmap::IndexMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// About the bytes that a key takes beside itself and its value.
const SLOT_BYTES: usize = 200;

/// What is held of a key.
#[derive(Debug)]
pub(super) struct Slot {
    pub held: Held,
    /// The log index up to which this is known to be true.
    pub as_of: u64,
    /// It was true at this moment or later, by the answer that it came with.
    pub checked_at: Option<LocalTime>,
    /// When it expires, at the earliest.
    pub expires_at: Option<LocalTime>,
    /// Used since the store last looked for what to evict.
    pub used: AtomicBool,
    bytes: usize,
}

#[derive(Debug)]
pub(super) struct Store {
    slots: IndexMap<Box<str>, Slot>,
    bytes: usize,
    entries_max: usize,
    bytes_max: usize,
    /// Where to look next for what to evict.
    hand: usize,
    pub evictions: u64,
}

impl Store {
    pub fn new(entries_max: usize, bytes_max: usize) -> Self {
        Self { slots: IndexMap::new(), bytes: 0, entries_max, bytes_max, hand: 0, evictions: 0 }
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// About how many bytes of memory they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn get(&self, key: &str) -> Option<&Slot> {
        self.slots.get(key)
    }

    pub fn insert(
        &mut self,
        key: &str,
        held: Held,
        as_of: u64,
        checked_at: Option<LocalTime>,
        expires_at: Option<LocalTime>,
    ) {
        self.remove(key);
        let value = held
            .as_ref()
            .map_or(0, |entry| entry.value.len() + entry.content_type.as_ref().map_or(0, String::len));
        let bytes = SLOT_BYTES + key.len() + value;
        // What alone is larger than the whole store would only push everything else out.
        if bytes > self.bytes_max || self.entries_max == 0 {
            return;
        }
        while self.slots.len() >= self.entries_max || self.bytes + bytes > self.bytes_max {
            self.evict();
        }
        let used = AtomicBool::new(false);
        self.slots.insert(key.into(), Slot { held, as_of, checked_at, expires_at, used, bytes });
        self.bytes += bytes;
    }

    pub fn remove(&mut self, key: &str) {
        if let Some(slot) = self.slots.swap_remove(key) {
            self.bytes -= slot.bytes;
        }
    }

    /// Removes what starts with the prefix, and is not known to be true as of this index.
    pub fn remove_prefix(&mut self, prefix: &str, index: u64) {
        let bytes = &mut self.bytes;
        self.slots.retain(|key, slot| {
            let stays = slot.as_of >= index || !key.starts_with(prefix);
            if !stays {
                *bytes -= slot.bytes;
            }
            stays
        });
    }

    pub fn clear(&mut self) {
        self.slots.clear();
        self.bytes = 0;
    }

    fn evict(&mut self) {
        loop {
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            let Some((_, slot)) = self.slots.get_index(self.hand) else { return };
            if !slot.used.swap(false, Ordering::Relaxed) {
                break;
            }
            self.hand += 1;
        }
        if let Some((_, slot)) = self.slots.swap_remove_index(self.hand) {
            self.bytes -= slot.bytes;
            self.evictions += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::near::NearEntry;
    use std::sync::Arc;

    fn entry(bytes: usize) -> Held {
        Some(Arc::new(NearEntry { value: vec![0; bytes].into(), content_type: None, revision: 1 }))
    }

    #[test]
    fn what_is_used_stays() {
        let mut store = Store::new(3, 1 << 20);
        for key in ["a", "b", "c"] {
            store.insert(key, entry(1), 1, None, None);
        }
        store.get("a").expect("held").used.store(true, Ordering::Relaxed);
        store.insert("d", entry(1), 1, None, None);
        assert!(store.get("a").is_some() && store.get("d").is_some());
        assert_eq!((store.len(), store.evictions), (3, 1));
    }

    #[test]
    fn bytes_are_bounded() {
        let mut store = Store::new(1_000, 10_000);
        for number in 0..100 {
            store.insert(&format!("k{number}"), entry(1_000), 1, None, None);
            assert!(store.bytes() <= 10_000, "{}", store.bytes());
        }
        assert_eq!(store.len(), 8);
        store.insert("large", entry(20_000), 1, None, None);
        assert!(store.get("large").is_none());
        assert_eq!(store.len(), 8, "it pushes nothing out");
        store.remove_prefix("k", 1);
        assert_eq!(store.len(), 8, "all of it is known to be true as of 1");
        store.remove_prefix("k", 2);
        assert_eq!((store.len(), store.bytes()), (0, 0));
    }
}
