//! Entries in the order of their stamps, where nearly all come in at the end: joining there, leaving from anywhere and looking at
//! both ends take constant time, and touch little memory.
//!
//! A linked list through an array with a place for each slot. Those that come in elsewhere, as they may after a switch of the
//! policy, are in a sorted map beside it.

use std::collections::BTreeMap;
use std::hint::black_box;

/// Places that are made at a time.
const PAGE_PLACES: usize = 1024;
/// The slot of nobody.
const NOBODY: u32 = u32::MAX;

/// Where a slot stands in the list.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// 0 when it does not.
    stamp: u64,
    before: u32,
    behind: u32,
}

const EMPTY: Place = Place { stamp: 0, before: NOBODY, behind: NOBODY };

/// Slots by stamps. A slot is in it once, and so is a stamp.
#[derive(Debug)]
pub(super) struct Line {
    places: Vec<Box<[Place; PAGE_PLACES]>>,
    first: u32,
    last: u32,
    listed: u64,
    elsewhere: BTreeMap<u64, u32>,
}

impl Default for Line {
    fn default() -> Self {
        Self { places: Vec::new(), first: NOBODY, last: NOBODY, listed: 0, elsewhere: BTreeMap::new() }
    }
}

impl Line {
    pub fn len(&self) -> u64 {
        self.listed + self.elsewhere.len() as u64
    }

    /// Lets a slot in that is not there.
    pub fn insert(&mut self, stamp: u64, slot: u32) {
        let last = self.last;
        if stamp <= self.place(last).map_or(0, |place| place.stamp) {
            self.elsewhere.insert(stamp, slot);
            return;
        }
        while self.place(slot).is_none() {
            self.places.push(Box::new([EMPTY; PAGE_PLACES]));
        }
        self.set(slot, Place { stamp, before: last, behind: NOBODY });
        self.change(last, |last| last.behind = slot);
        if last == NOBODY {
            self.first = slot;
        }
        self.last = slot;
        self.listed += 1;
    }

    /// Lets a slot out that came in with this stamp.
    pub fn remove(&mut self, stamp: u64, slot: u32) {
        let Some(place) = self.place(slot).copied().filter(|place| place.stamp > 0 && place.stamp == stamp)
        else {
            self.elsewhere.remove(&stamp);
            return;
        };
        self.set(slot, EMPTY);
        self.change(place.before, |before| before.behind = place.behind);
        self.change(place.behind, |behind| behind.before = place.before);
        if place.before == NOBODY {
            self.first = place.behind;
        }
        if place.behind == NOBODY {
            self.last = place.before;
        }
        self.listed -= 1;
    }

    /// The slot with the least stamp.
    pub fn first(&self) -> Option<u32> {
        self.iter().next()
    }

    /// The slot with the greatest stamp.
    pub fn last(&self) -> Option<u32> {
        let listed = self.place(self.last).map(|place| (place.stamp, self.last));
        let elsewhere = self.elsewhere.last_key_value().map(|(&stamp, &slot)| (stamp, slot));
        listed.max(elsewhere).map(|(_, slot)| slot)
    }

    /// All slots by their stamps.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let mut elsewhere = self.elsewhere.iter().peekable();
        let mut at = self.first;
        std::iter::from_fn(move || match (self.place(at), elsewhere.peek()) {
            (Some(place), next) if next.is_none_or(|(stamp, _)| place.stamp < **stamp) => {
                Some(std::mem::replace(&mut at, place.behind))
            }
            _ => elsewhere.next().map(|(_, &slot)| slot),
        })
    }

    /// Brings the places of these slots, and those beside them, close to the processor.
    pub fn warm(&self, slots: &[u32]) {
        for slot in slots {
            let beside =
                |place: &Place| [place.before, place.behind].map(|slot| self.place(slot).map(|p| p.stamp));
            black_box(self.place(*slot).map(beside));
        }
    }

    fn place(&self, slot: u32) -> Option<&Place> {
        let (page, at) = page_of(slot);
        self.places.get(page).map(|places| &places[at])
    }

    fn change(&mut self, slot: u32, change: impl FnOnce(&mut Place)) {
        let (page, at) = page_of(slot);
        if let Some(places) = self.places.get_mut(page) {
            change(&mut places[at]);
        }
    }

    fn set(&mut self, slot: u32, new: Place) {
        self.change(slot, |place| *place = new);
    }
}

fn page_of(slot: u32) -> (usize, usize) {
    let slot = slot as usize;
    (slot / PAGE_PLACES, slot % PAGE_PLACES)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a sorted map would have it, whatever comes and goes.
    #[test]
    fn it_is_in_the_order_of_stamps() {
        let mut random = fastrand::Rng::with_seed(11);
        for round in 0..20 {
            let (mut line, mut model) = (Line::default(), BTreeMap::new());
            let mut newest = 0;
            for _ in 0..3_000 {
                let slot = random.u32(..2_500);
                let there = model.iter().find(|(_, at)| **at == slot).map(|(stamp, _)| *stamp);
                if let Some(stamp) = there {
                    line.remove(stamp, slot);
                    model.remove(&stamp);
                } else if model.len() < 60 {
                    newest += 2;
                    // Some rounds have none that come late, some have many.
                    let late = random.u32(..20) < round;
                    let stamp = if late { random.u64(..newest) } else { newest };
                    if model.contains_key(&stamp) {
                        continue;
                    }
                    line.insert(stamp, slot);
                    model.insert(stamp, slot);
                } else if let Some((stamp, slot)) = model.pop_first() {
                    assert_eq!(line.first(), Some(slot));
                    line.remove(stamp, slot);
                }
                assert_eq!(line.len(), model.len() as u64);
                assert_eq!(line.first(), model.values().next().copied());
                assert_eq!(line.last(), model.values().next_back().copied());
            }
            assert_eq!(line.iter().collect::<Vec<u32>>(), model.values().copied().collect::<Vec<u32>>());
        }
    }
}
