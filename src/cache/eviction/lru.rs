//! The least recently used goes first: a linked list through the slots, in order of their recency stamps.

use super::Order;
use crate::cache::slab::Slab;

/// No slot.
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Link {
    older: u32,
    newer: u32,
}

/// Links lie apart from the slab's pages: moving an entry changes its neighbours too, and must not copy
/// their pages while a snapshot is being written.
#[derive(Debug)]
pub(super) struct Lru {
    links: Vec<Link>,
    oldest: u32,
    newest: u32,
}

impl Lru {
    pub fn new(slab: &Slab) -> Self {
        let mut by_recency: Vec<(u64, u32)> = slab.iter().map(|(slot, e)| (e.recency, slot)).collect();
        by_recency.sort_unstable();
        let mut lru = Self { links: Vec::new(), oldest: NONE, newest: NONE };
        for (_, slot) in by_recency {
            lru.used(slot);
        }
        lru
    }

    fn is_linked(&self, slot: u32) -> bool {
        self.oldest == slot || self.links.get(slot as usize).is_some_and(|link| link.older != NONE)
    }

    /// Takes a slot that is linked out of the list.
    fn unlink(&mut self, slot: u32) {
        let Link { older, newer } = self.links[slot as usize];
        match older {
            NONE => self.oldest = newer,
            older => self.links[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.links[newer as usize].older = older,
        }
        self.links[slot as usize] = Link { older: NONE, newer: NONE };
    }
}

impl Order for Lru {
    fn used(&mut self, slot: u32) {
        if self.is_linked(slot) {
            self.unlink(slot);
        }
        if self.links.len() <= slot as usize {
            self.links.resize(slot as usize + 1, Link { older: NONE, newer: NONE });
        }
        self.links[slot as usize] = Link { older: self.newest, newer: NONE };
        match self.newest {
            NONE => self.oldest = slot,
            newest => self.links[newest as usize].newer = slot,
        }
        self.newest = slot;
    }

    fn removed(&mut self, slot: u32) {
        if self.is_linked(slot) {
            self.unlink(slot);
        }
    }

    fn victim(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }
}
