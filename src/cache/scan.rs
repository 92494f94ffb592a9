//! Walks over all keys in the order of their slots. A key keeps its slot as long as it lives, also when it is overwritten, and slots are
//! the same on all nodes and in snapshots. So a walk needs nothing but the number of a slot, wherever it goes on, and a key that is there from
//! its beginning to its end is met exactly once. Where there are few keys with a prefix among many others, they are all told at once.

use super::{Cache, Key, Kind};

/// A part of a walk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scanned {
    pub keys: Vec<(Key, Kind)>,
    /// The slot to go on from; 0 at the end.
    pub next: u64,
    /// How many slots there are.
    pub slots: u64,
}

impl Cache {
    /// The keys with this prefix in so many slots from this one on; all of them from the first slot on, if they are not more than that.
    pub fn scan(&self, prefix: &str, from: u64, slots: usize) -> Scanned {
        let all = self.store.slab().slots();
        if from == 0 && self.count(prefix) <= slots as u64 {
            let live = self.live(prefix, None);
            let keys = live.map(|(_, entry)| (entry.record.to_key(), entry.record.kind())).collect();
            return Scanned { keys, next: 0, slots: all.into() };
        }
        let from = u32::try_from(from).unwrap_or(u32::MAX).min(all);
        let end = all.min(from.saturating_add(u32::try_from(slots).unwrap_or(u32::MAX)));
        let live = (from..end).filter_map(|slot| {
            let entry = self.store.slab().entry(slot).filter(|entry| !entry.is_expired(self.now_ms))?;
            let is_meant = !self.store.is_cleared(slot) && entry.record.key().starts_with(prefix);
            is_meant.then(|| (entry.record.to_key(), entry.record.kind()))
        });
        Scanned { keys: live.collect(), next: if end < all { u64::from(end) } else { 0 }, slots: all.into() }
    }
}
