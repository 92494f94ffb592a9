//! The cache itself: pure, synchronous, deterministic. Same log, same bytes, on every node.
//!
//! Start reading at [`Cache::apply`] (`apply/mod.rs`): it is the only thing that changes a cache. One file
//! there is one command. Below it lie the entries (`store.rs` over `slab.rs`), what is remembered beside them
//! (`tombstones.rs`, `remembered.rs`), the order of eviction (`eviction/`), and snapshots (`snapshot/`).
//! Nothing here reads a clock, draws a random number, starts a thread or iterates a hash map.

#![deny(clippy::disallowed_types, clippy::disallowed_methods)]
#![deny(clippy::float_arithmetic, clippy::iter_over_hash_type)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::panic, clippy::unreachable))]

mod apply;
mod codec;
mod command;
mod config;
mod dedup;
mod digest;
mod entry;
mod error;
mod eviction;
mod hints;
mod index;
mod key;
pub mod limits;
mod outcome;
mod record;
mod slab;
mod snapshot;
mod state;
mod stats;
mod store;
mod tombstones;
mod warm;
mod window;

pub use command::{Command, Condition, ConfigChange, EntryId, Op, Stamp, Touch, Ttl};
pub use config::{CacheConfig, TouchConfig};
pub use digest::Digest;
pub use entry::Found;
pub use error::CommandError;
pub use eviction::Policy;
pub use key::{Key, KeyError, Value, ValueError};
pub use outcome::{Applied, Cause, Event, Outcome};
pub use record::Record;
pub use snapshot::{Frozen, RestoreError};
pub use state::{Cache, KeyDetails, KeyInfo, Listed, Seen, Victim};
pub use stats::Stats;
pub use tombstones::{Scope, Tombstone};
