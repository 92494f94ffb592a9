//! Slots in the order of their recencies, where nearly all are inserted at the end: inserting there, removing from anywhere
//! and reading both ends take constant time, and 8 bytes a slot.
//!
//! They are linked lists through one array, with a link for each slot. The recencies are in the slab. Slots that are inserted
//! out of order, as they may be after a switch of the policy, are in a sorted map beside the list.

use std::collections::BTreeMap;
use std::hint::black_box;

/// Links that are allocated at a time.
const PAGE_LINKS: usize = 1024;
/// In place of a slot where there is none.
const NONE: u32 = u32::MAX;

/// A slot's neighbours. A slot that was removed keeps them, as in Knuth's "Dancing Links" (2000), so that it can return to
/// its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Link {
    before: u32,
    after: u32,
}

const UNLINKED: Link = Link { before: NONE, after: NONE };

/// The links of all lists of one policy: each slot is in at most one of them.
#[derive(Debug, Default)]
pub(super) struct Links(Vec<Box<[Link; PAGE_LINKS]>>);

impl Links {
    pub fn memory(&self) -> u64 {
        (self.0.len() * (size_of::<[Link; PAGE_LINKS]>() + size_of::<usize>())) as u64
    }

    fn get(&self, slot: u32) -> Link {
        let (page, at) = page_of(slot);
        self.0.get(page).map_or(UNLINKED, |links| links[at])
    }

    fn change(&mut self, slot: u32, change: impl FnOnce(&mut Link)) {
        let (page, at) = page_of(slot);
        if let Some(links) = self.0.get_mut(page) {
            change(&mut links[at]);
        }
    }

    fn fit(&mut self, slot: u32) {
        while self.0.len() <= page_of(slot).0 {
            self.0.push(Box::new([UNLINKED; PAGE_LINKS]));
        }
    }

    /// Loads the links of these slots, and of their neighbours, into the processor's caches.
    pub fn prefetch(&self, slots: &[u32]) {
        for slot in slots {
            let Link { before, after } = self.get(*slot);
            black_box((self.get(before), self.get(after)));
        }
    }
}

fn page_of(slot: u32) -> (usize, usize) {
    let slot = slot as usize;
    (slot / PAGE_LINKS, slot % PAGE_LINKS)
}

/// One list. Each recency is in it at most once.
#[derive(Debug)]
pub(super) struct RecencyList {
    first: u32,
    last: u32,
    linked: u64,
    /// No linked slot has a greater recency.
    newest: u64,
    out_of_order: BTreeMap<u64, u32>,
}

impl Default for RecencyList {
    fn default() -> Self {
        Self { first: NONE, last: NONE, linked: 0, newest: 0, out_of_order: BTreeMap::new() }
    }
}

impl RecencyList {
    pub fn len(&self) -> u64 {
        self.linked + self.out_of_order.len() as u64
    }

    /// Inserts a slot that is in no list of these links. Recencies start at 1.
    pub fn insert(&mut self, links: &mut Links, recency: u64, slot: u32) {
        if recency > self.newest {
            self.newest = recency;
            self.link(links, slot, Link { before: self.last, after: NONE });
        } else {
            let other = self.out_of_order.insert(recency, slot);
            assert!(other.is_none(), "no two entries share a recency");
        }
    }

    /// The same, for a slot that may have been removed with this recency just before: it returns to its place if its
    /// neighbours are still there. `recency_of` is the recency of a slot in this list, and `None` for others.
    pub fn insert_again(
        &mut self,
        links: &mut Links,
        recency: u64,
        slot: u32,
        recency_of: impl Fn(u32) -> Option<u64>,
    ) {
        let place = links.get(slot);
        let Link { before, after } = place;
        // Only slots that are linked have each other as neighbours.
        let are_neighbours = match (before, after) {
            (NONE, NONE) => false,
            (NONE, after) => self.first == after,
            (before, NONE) => self.last == before,
            (before, after) => links.get(before).after == after && links.get(after).before == before,
        };
        let is_between = (before == NONE || recency_of(before).is_some_and(|before| before < recency))
            && (after == NONE || recency_of(after).is_some_and(|after| recency < after));
        if recency <= self.newest && are_neighbours && is_between {
            self.link(links, slot, place);
        } else {
            self.insert(links, recency, slot);
        }
    }

    fn link(&mut self, links: &mut Links, slot: u32, link: Link) {
        links.fit(slot);
        links.change(slot, |place| *place = link);
        match link.before {
            NONE => self.first = slot,
            before => links.change(before, |before| before.after = slot),
        }
        match link.after {
            NONE => self.last = slot,
            after => links.change(after, |after| after.before = slot),
        }
        self.linked += 1;
    }

    /// Removes a slot that was inserted with this recency.
    pub fn remove(&mut self, links: &mut Links, recency: u64, slot: u32) {
        let Link { before, after } = links.get(slot);
        let is_linked = if before == NONE { self.first == slot } else { links.get(before).after == slot };
        if !is_linked {
            let removed = self.out_of_order.remove(&recency);
            assert!(removed == Some(slot), "only what was inserted is removed");
            return;
        }
        match before {
            NONE => self.first = after,
            before => links.change(before, |before| before.after = after),
        }
        match after {
            NONE => self.last = before,
            after => links.change(after, |after| after.before = before),
        }
        self.linked -= 1;
        let is_empty = self.linked == 0;
        assert!(is_empty == (self.first == NONE) && is_empty == (self.last == NONE), "the list has two ends");
        if is_empty {
            self.newest = 0;
        }
    }

    /// The slot with the least recency. `recency_of` is the recency of a slot in this list.
    pub fn first(&self, recency_of: impl Fn(u32) -> u64) -> Option<u32> {
        let out_of_order = self.out_of_order.first_key_value();
        match (self.first, out_of_order) {
            (NONE, other) => other.map(|(_, &slot)| slot),
            (first, Some((&recency, &slot))) if recency < recency_of(first) => Some(slot),
            (first, _) => Some(first),
        }
    }

    /// The slot with the greatest recency.
    pub fn last(&self, recency_of: impl Fn(u32) -> u64) -> Option<u32> {
        let out_of_order = self.out_of_order.last_key_value();
        match (self.last, out_of_order) {
            (NONE, other) => other.map(|(_, &slot)| slot),
            (last, Some((&recency, &slot))) if recency > recency_of(last) => Some(slot),
            (last, _) => Some(last),
        }
    }

    /// All slots in the order of their recencies.
    pub fn iter(&self, links: &Links, recency_of: impl Fn(u32) -> u64) -> impl Iterator<Item = u32> {
        let mut out_of_order = self.out_of_order.iter().peekable();
        let mut at = self.first;
        std::iter::from_fn(move || {
            let next = out_of_order.peek().map(|(recency, _)| **recency);
            if at != NONE && next.is_none_or(|next| recency_of(at) < next) {
                let slot = at;
                at = links.get(slot).after;
                Some(slot)
            } else {
                out_of_order.next().map(|(_, &slot)| slot)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two lists that share their links, beside two sorted maps.
    #[derive(Default)]
    struct Beside {
        links: Links,
        lists: [RecencyList; 2],
        models: [BTreeMap<u64, u32>; 2],
        /// List and recency of each slot.
        places: BTreeMap<u32, (usize, u64)>,
    }

    impl Beside {
        fn insert(&mut self, at: usize, recency: u64, slot: u32, again: bool) {
            let places = &self.places;
            let of =
                |slot: u32| places.get(&slot).filter(|(list, _)| *list == at).map(|(_, recency)| *recency);
            if again {
                self.lists[at].insert_again(&mut self.links, recency, slot, of);
            } else {
                self.lists[at].insert(&mut self.links, recency, slot);
            }
            self.models[at].insert(recency, slot);
            self.places.insert(slot, (at, recency));
        }

        fn remove(&mut self, slot: u32) -> Option<(usize, u64)> {
            let (at, recency) = self.places.remove(&slot)?;
            self.lists[at].remove(&mut self.links, recency, slot);
            self.models[at].remove(&recency);
            Some((at, recency))
        }

        fn check(&self) {
            for (list, model) in self.lists.iter().zip(&self.models) {
                let recency_of = |slot: u32| self.places[&slot].1;
                assert_eq!(list.len(), model.len() as u64);
                assert_eq!(list.first(recency_of), model.values().next().copied());
                assert_eq!(list.last(recency_of), model.values().next_back().copied());
                let all: Vec<u32> = list.iter(&self.links, recency_of).collect();
                assert_eq!(all, model.values().copied().collect::<Vec<u32>>());
            }
        }

        fn out_of_order(&self) -> usize {
            self.lists.iter().map(|list| list.out_of_order.len()).sum()
        }
    }

    /// As a sorted map would have it, whatever comes, goes and returns.
    #[test]
    fn it_is_in_the_order_of_recencies() {
        let mut random = fastrand::Rng::with_seed(11);
        for round in 0..40 {
            let (mut both, mut newest) = (Beside::default(), 0);
            for _ in 0..2_000 {
                let (slot, at) = (random.u32(..2_500), random.usize(..2));
                newest += 2;
                // Some rounds have none that are inserted late, some have many.
                let recency = if random.u32(..40) < round { random.u64(1..newest) } else { newest };
                if both.models[at].contains_key(&recency) {
                    continue;
                }
                match random.u32(..3) {
                    // A few are removed and return, with the same recency or another one, to the same list or the other.
                    0 if both.places.len() > 8 => {
                        let some: Vec<u32> = both.places.keys().copied().take(random.usize(1..5)).collect();
                        let removed: Vec<_> =
                            some.iter().filter_map(|slot| Some((*slot, both.remove(*slot)?))).collect();
                        for (slot, (list, before)) in removed.into_iter().rev() {
                            let moves = random.u32(..8) == 0;
                            let list = if moves { 1 - list } else { list };
                            let again = if random.u32(..8) == 0 { newest + 1 } else { before };
                            if !both.models[list].contains_key(&again) {
                                both.insert(list, again, slot, true);
                            }
                            newest += 2;
                        }
                    }
                    1 if both.places.len() > 60 => {
                        let oldest = both.models[at].values().next().copied();
                        oldest.map(|slot| both.remove(slot));
                    }
                    _ if both.places.contains_key(&slot) => drop(both.remove(slot)),
                    _ => both.insert(at, recency, slot, random.bool()),
                }
                both.check();
            }
        }
    }

    /// What is removed and inserted again with the recency that it had takes no room beside the list, even neighbours.
    #[test]
    fn what_returns_takes_its_old_place() {
        let mut both = Beside::default();
        (1..=100).for_each(|slot| both.insert(0, u64::from(slot), slot, false));
        for from in [1, 40, 91] {
            let removed: Vec<_> =
                (from..from + 10).filter_map(|slot| Some((slot, both.remove(slot)?))).collect();
            for (slot, (list, recency)) in removed.into_iter().rev() {
                both.insert(list, recency, slot, true);
            }
            both.check();
        }
        assert_eq!(both.out_of_order(), 0);
    }
}
