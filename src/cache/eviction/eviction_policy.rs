//! What an eviction policy is to the rest of the cache.

use crate::cache::codec::{DecodeError, Decoder};
use crate::cache::entry::Usage;
use crate::cache::slab::Slab;
use std::fmt::Debug;
use std::io::{self, BufRead, Write};

/// Why an entry is inserted into an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) enum Admission {
    /// It was just created; the fingerprint of its key.
    New { fingerprint: u32 },
    /// It was in this order, and was written again.
    Rewritten,
    /// It comes from another policy's order.
    Moved,
}

/// How much a cache may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) struct Capacity {
    pub entries: u64,
    pub bytes: u64,
}

/// What a policy may use while it looks for a victim.
pub(in crate::cache) struct EvictionContext<'a> {
    pub slab: &'a mut Slab,
    pub capacity: Capacity,
    /// The counter that assigns recencies.
    pub recency_clock: &'a mut u64,
    /// How many entries may still be reinserted instead of evicted for this log entry.
    pub reinsert_budget: &'a mut u32,
}

/// How a policy presents itself to the registry.
pub(super) struct Registration {
    /// Identifies the policy in logs, snapshots and digests. It is never changed, and never given to another policy.
    pub number: u8,
    /// As it is written in settings.
    pub name: &'static str,
    /// The first feature level that has it.
    pub level: u32,
    /// Whether entries are evicted at all.
    pub evicts: bool,
    /// The policy without entries.
    pub new: fn() -> Box<dyn EvictionPolicy>,
}

/// A policy: the order in which entries are evicted. `usage` is always what the entry carries at that moment.
pub(in crate::cache) trait EvictionPolicy: Debug + Send + Sync {
    /// Entries in the order.
    fn len(&self) -> u64;
    /// Bytes of memory that the order takes, beyond what the entries themselves have.
    fn memory(&self) -> u64;
    /// Inserts an entry and returns its rank. The slab still has the usage from before.
    fn insert(&mut self, slab: &Slab, slot: u32, usage: &Usage, admission: Admission) -> u64;
    /// Whether an entry that is written again keeps its place. Where not, it gets a new one, by its recency.
    fn keeps_place(&self) -> bool {
        false
    }
    /// Removes an entry.
    fn remove(&mut self, slot: u32, usage: &Usage);
    /// An entry was used, which turned `before` into `after`, except for the rank. Returns its rank.
    fn on_use(&mut self, slab: &Slab, slot: u32, before: &Usage, after: &Usage) -> u64 {
        self.remove(slot, before);
        self.insert(slab, slot, after, Admission::Rewritten)
    }
    /// Whether a use would change the order; `newer` entries were used since this one.
    fn wants_touch(&self, usage: &Usage, newer: u64) -> bool;
    /// The entry to evict next. It may reinsert others that it comes across.
    fn victim(&mut self, context: &mut EvictionContext<'_>) -> Option<u32>;
    /// An entry that [`victim`](Self::victim) returned was removed to make room.
    fn on_evicted(&mut self, _usage: &Usage, _fingerprint: u32) {}
    /// The entry that would be evicted last.
    fn last(&self, slab: &Slab) -> Option<u32>;
    /// The entries that are evicted next if nothing is used or written meanwhile, at most `limit`.
    fn next_victims(&self, slab: &Slab, capacity: Capacity, limit: usize) -> Vec<u32>;
    /// Loads what the order knows of these slots into the processor's caches; see [`crate::cache::Cache::prefetch`].
    fn prefetch(&self, _slots: &[u32]) {}
    /// Inserts an entry of a snapshot, whose recencies are known to be unique; false when it cannot have that rank.
    fn restore_entry(&mut self, slot: u32, usage: &Usage) -> bool;
    /// The recency in an entry's rank, if it holds one. Like recencies, these are unique.
    fn recency_in_rank(&self, _usage: &Usage) -> Option<u64> {
        None
    }

    /// What it knows besides what the entries carry.
    fn state(&self) -> Box<dyn PolicyState> {
        Box::new(())
    }
    /// Reads what [`PolicyState::encode`] wrote, into a policy without entries.
    fn restore_state(&mut self, _source: &mut Decoder<&mut dyn BufRead>) -> Result<(), DecodeError> {
        Ok(())
    }
    /// The same as the state's [`digest_words`](PolicyState::digest_words). A policy whose state is large keeps them
    /// current instead of computing them.
    fn digest_words(&self) -> [u64; 4] {
        self.state().digest_words()
    }
    /// Whether it has state that is of no use once another policy is in force.
    fn has_idle_state(&self) -> bool {
        false
    }
    /// Drops a bounded part of that state.
    fn drop_idle_state(&mut self) {}
}

/// What a policy knows besides what the entries carry: its part of a snapshot and of the digest. Taking it is cheap;
/// it is encoded on another thread.
pub(in crate::cache) trait PolicyState: Debug + Send + Sync {
    /// Writes the state's bytes.
    fn encode(&self, out: &mut dyn Write) -> io::Result<()>;
    /// Identifies the state in the digest. All 0 for the state of a policy that was never in force, which is left out of
    /// the digest: so a new policy changes no digest before it is used.
    fn digest_words(&self) -> [u64; 4];
}

/// The entries carry everything.
impl PolicyState for () {
    fn encode(&self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn digest_words(&self) -> [u64; 4] {
        [0; 4]
    }
}
