//! Who goes when there is no room. One policy is one file here; what they keep is derived from the entries,
//! so it is in no snapshot: restoring one builds it anew.

mod lru;
mod noeviction;

use super::Policy;
use super::slab::Slab;

/// The order in which entries go. Slots are used one after the other; the cache tells of every use.
pub(super) trait Order: std::fmt::Debug + Send + Sync {
    /// A slot got an entry, or its entry was used.
    fn used(&mut self, slot: u32);
    /// A slot lost its entry.
    fn removed(&mut self, slot: u32);
    /// The entry to evict next; `None` when there is none, or the policy evicts nothing.
    fn victim(&self) -> Option<u32>;
}

/// The order of a policy over the entries there are.
pub(super) fn order_of(policy: Policy, slab: &Slab) -> Box<dyn Order> {
    match policy {
        Policy::Lru => Box::new(lru::Lru::new(slab)),
        Policy::NoEviction => Box::new(noeviction::NoEviction),
    }
}
