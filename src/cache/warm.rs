//! Looking at what commands are about before they are applied.
//!
//! What a command needs of a large state is seldom in the processor's caches, and each thing says where the next one is. Applied one
//! after another, commands wait for memory again and again. Here many keys are followed step by step together, so that they wait
//! at the same time.

use super::{Cache, Command, Op, Record};
use std::hint::black_box;

/// Keys that are followed together: more than a processor waits for at once, and few enough to stay in its caches.
const TOGETHER: usize = 64;

impl Cache {
    /// Brings what these commands are about close to the processor. Changes nothing, so it makes no difference what becomes of it.
    pub fn warm<'a>(&self, commands: impl Iterator<Item = &'a Command>) {
        let mut keys = commands.flat_map(ops).map(|op| op.key().as_str()).peekable();
        let mut slots = Vec::with_capacity(TOGETHER);
        let slab = self.store.slab();
        while keys.peek().is_some() {
            slots.clear();
            slots.extend(keys.by_ref().take(TOGETHER).flat_map(|key| self.store.hints(key)));
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

/// The operations on single keys.
fn ops(command: &Command) -> &[Op] {
    match command {
        Command::One(op) => std::slice::from_ref(op),
        Command::Batch(ops) => ops,
        _ => &[],
    }
}
