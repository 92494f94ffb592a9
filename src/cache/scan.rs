//! Walks over all keys in the order of their slots. A key keeps its slot as long as it lives, also when it is overwritten, and slots are
//! the same on all nodes and in snapshots. So a walk needs nothing but the number of a slot, wherever it goes on, and a key that is there from
//! its beginning to its end is met exactly once.

use super::{Cache, Key, Kind};

impl Cache {
    /// The keys in so many slots from this one on with their kinds, and the slot to go on from; 0 at the end.
    pub fn scan(&self, from: u64, slots: usize) -> (Vec<(Key, Kind)>, u64) {
        let all = self.store.slab().slots();
        let Some(from) = u32::try_from(from).ok().filter(|from| *from < all) else { return (Vec::new(), 0) };
        let end = all.min(from.saturating_add(u32::try_from(slots).unwrap_or(u32::MAX)));
        let live = (from..end).filter_map(|slot| {
            let entry = self.store.slab().entry(slot).filter(|entry| !entry.is_expired(self.now_ms))?;
            (!self.store.is_cleared(slot)).then(|| (entry.record.to_key(), entry.record.kind()))
        });
        (live.collect(), if end < all { u64::from(end) } else { 0 })
    }
}
