//! Slots in the order of their recencies, where nearly all are inserted at the end: inserting there, removing from
//! anywhere and reading both ends take constant time, and touch little memory.
//!
//! It is a linked list through an array with a node for each slot. Slots that are inserted out of order, as they may be
//! after a switch of the policy, are in a sorted map beside it.

use std::collections::BTreeMap;
use std::hint::black_box;

/// Nodes that are allocated at a time.
const PAGE_NODES: usize = 1024;
/// In place of a slot where there is none.
const NONE: u32 = u32::MAX;

/// A slot's node in the list.
#[derive(Debug, Clone, Copy)]
struct Node {
    /// 0 when the slot is not in the list.
    recency: u64,
    before: u32,
    after: u32,
}

const EMPTY: Node = Node { recency: 0, before: NONE, after: NONE };

/// Slots by recencies. Each slot is in it at most once, and so is each recency.
#[derive(Debug)]
pub(super) struct RecencyList {
    pages: Vec<Box<[Node; PAGE_NODES]>>,
    first: u32,
    last: u32,
    listed: u64,
    out_of_order: BTreeMap<u64, u32>,
}

impl Default for RecencyList {
    fn default() -> Self {
        Self { pages: Vec::new(), first: NONE, last: NONE, listed: 0, out_of_order: BTreeMap::new() }
    }
}

impl RecencyList {
    pub fn len(&self) -> u64 {
        self.listed + self.out_of_order.len() as u64
    }

    /// Inserts a slot that is not in it.
    pub fn insert(&mut self, recency: u64, slot: u32) {
        let last = self.last;
        if recency <= self.node(last).map_or(0, |node| node.recency) {
            let other = self.out_of_order.insert(recency, slot);
            assert!(other.is_none(), "no two entries share a recency");
            return;
        }
        while self.node(slot).is_none() {
            self.pages.push(Box::new([EMPTY; PAGE_NODES]));
        }
        self.set(slot, Node { recency, before: last, after: NONE });
        self.change(last, |last| last.after = slot);
        if last == NONE {
            self.first = slot;
        }
        self.last = slot;
        self.listed += 1;
    }

    /// Removes a slot that was inserted with this recency.
    pub fn remove(&mut self, recency: u64, slot: u32) {
        let Some(node) = self.node(slot).copied().filter(|node| node.recency > 0 && node.recency == recency)
        else {
            let removed = self.out_of_order.remove(&recency);
            assert!(removed == Some(slot), "only what was inserted is removed");
            return;
        };
        self.set(slot, EMPTY);
        self.change(node.before, |before| before.after = node.after);
        self.change(node.after, |after| after.before = node.before);
        if node.before == NONE {
            self.first = node.after;
        }
        if node.after == NONE {
            self.last = node.before;
        }
        self.listed -= 1;
        let is_empty = self.listed == 0;
        assert!(is_empty == (self.first == NONE) && is_empty == (self.last == NONE), "the list has two ends");
    }

    /// The slot with the least recency.
    pub fn first(&self) -> Option<u32> {
        self.iter().next()
    }

    /// The slot with the greatest recency.
    pub fn last(&self) -> Option<u32> {
        let listed = self.node(self.last).map(|node| (node.recency, self.last));
        let out_of_order = self.out_of_order.last_key_value().map(|(&recency, &slot)| (recency, slot));
        listed.max(out_of_order).map(|(_, slot)| slot)
    }

    /// All slots in the order of their recencies.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let mut out_of_order = self.out_of_order.iter().peekable();
        let mut at = self.first;
        std::iter::from_fn(move || match (self.node(at), out_of_order.peek()) {
            (Some(node), next) if next.is_none_or(|(recency, _)| node.recency < **recency) => {
                Some(std::mem::replace(&mut at, node.after))
            }
            _ => out_of_order.next().map(|(_, &slot)| slot),
        })
    }

    /// Loads the nodes of these slots, and their neighbours, into the processor's caches.
    pub fn prefetch(&self, slots: &[u32]) {
        for slot in slots {
            let neighbours =
                |node: &Node| [node.before, node.after].map(|slot| self.node(slot).map(|n| n.recency));
            black_box(self.node(*slot).map(neighbours));
        }
    }

    fn node(&self, slot: u32) -> Option<&Node> {
        let (page, at) = page_of(slot);
        self.pages.get(page).map(|nodes| &nodes[at])
    }

    fn change(&mut self, slot: u32, change: impl FnOnce(&mut Node)) {
        let (page, at) = page_of(slot);
        if let Some(nodes) = self.pages.get_mut(page) {
            change(&mut nodes[at]);
        }
    }

    fn set(&mut self, slot: u32, new: Node) {
        self.change(slot, |node| *node = new);
    }
}

fn page_of(slot: u32) -> (usize, usize) {
    let slot = slot as usize;
    (slot / PAGE_NODES, slot % PAGE_NODES)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a sorted map would have it, whatever comes and goes.
    #[test]
    fn it_is_in_the_order_of_stamps() {
        let mut random = fastrand::Rng::with_seed(11);
        for round in 0..20 {
            let (mut list, mut model) = (RecencyList::default(), BTreeMap::new());
            let mut newest = 0;
            for _ in 0..3_000 {
                let slot = random.u32(..2_500);
                let there = model.iter().find(|(_, at)| **at == slot).map(|(recency, _)| *recency);
                if let Some(recency) = there {
                    list.remove(recency, slot);
                    model.remove(&recency);
                } else if model.len() < 60 {
                    newest += 2;
                    // Some rounds have none that come late, some have many.
                    let late = random.u32(..20) < round;
                    let recency = if late { random.u64(..newest) } else { newest };
                    if model.contains_key(&recency) {
                        continue;
                    }
                    list.insert(recency, slot);
                    model.insert(recency, slot);
                } else if let Some((recency, slot)) = model.pop_first() {
                    assert_eq!(list.first(), Some(slot));
                    list.remove(recency, slot);
                }
                assert_eq!(list.len(), model.len() as u64);
                assert_eq!(list.first(), model.values().next().copied());
                assert_eq!(list.last(), model.values().next_back().copied());
            }
            assert_eq!(list.iter().collect::<Vec<u32>>(), model.values().copied().collect::<Vec<u32>>());
        }
    }
}
