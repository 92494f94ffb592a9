//! Loads what commands need into the processor's caches before they are applied.
//!
//! In a large state, what a command needs is rarely in the caches, and each pointer has to be loaded before the next one is
//! known. Commands that are applied one after another wait for memory again and again. Here many keys are followed
//! together, one step at a time, so that they wait at the same time.

use super::{Cache, Command, Guard, Key, Op, Record};
use std::hint::black_box;

/// Keys that are followed together: more than the loads that a processor has in flight, and few enough that what they
/// need fits its caches.
const BATCH_KEYS: usize = 64;

impl Cache {
    /// Loads what these commands need into the processor's caches. It changes nothing.
    pub fn prefetch<'a>(&self, commands: impl Iterator<Item = &'a Command>) {
        let mut keys = commands.flat_map(keys).map(Key::as_str).peekable();
        let mut slots = Vec::with_capacity(BATCH_KEYS);
        let slab = self.store.slab();
        while keys.peek().is_some() {
            slots.clear();
            slots.extend(keys.by_ref().take(BATCH_KEYS).flat_map(|key| self.store.hints(key)));
            for slot in &slots {
                black_box(slab.entry(*slot).map(|entry| entry.sliding_ms));
            }
            let ends =
                |record: &Record| (record.key_bytes().first().copied(), record.bytes().last().copied());
            for slot in &slots {
                black_box(slab.entry(*slot).map(|entry| ends(&entry.record)));
            }
            self.store.policies().prefetch(&slots);
        }
    }
}

/// The keys of operations on single keys, and of what must hold for them.
fn keys(command: &Command) -> impl Iterator<Item = &Key> {
    let (guards, ops): (&[Guard], &[Op]) = match command {
        Command::One(op) => (&[], std::slice::from_ref(op)),
        Command::Batch(ops) => (&[], ops),
        Command::Sequence { guards, ops } => (guards, ops),
        _ => (&[], &[]),
    };
    guards.iter().filter_map(Guard::key).chain(ops.iter().map(Op::key))
}
