//! The cache itself: pure, synchronous, deterministic. Same log, same bytes, on every node.
//!
//! Start reading at [`Cache::apply`] (`apply/mod.rs`): it is the only function that changes a cache. One file
//! there is one command. Below it are the entries (`store.rs` over `slab.rs`), what is kept beside them
//! (`tombstones.rs`, `dedup/`), the order of eviction (`eviction/`), and snapshots (`snapshot/`).
//! Nothing here reads a clock, draws a random number, starts a thread or iterates over a hash map.

#![deny(clippy::disallowed_types, clippy::disallowed_methods)]
#![deny(clippy::float_arithmetic, clippy::iter_over_hash_type)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::panic, clippy::unreachable))]

mod admin_log;
mod apply;
mod blocks;
mod client_sessions;
mod codec;
mod command;
mod config;
mod decimal;
mod dedup;
mod digest;
mod entry;
mod error;
mod eviction;
mod forks;
mod grants;
mod hash;
mod hints;
mod idempotency_key;
mod join_tokens;
mod key;
mod key_index;
pub mod limits;
mod listing;
mod lookup;
mod lost_keys;
mod memory;
mod merge;
mod numbered_queue;
mod outcome;
mod pending_clears;
mod prefetch;
mod quota;
mod range_digest;
mod record;
mod removal;
mod scan;
mod secret;
mod sessions;
mod shared_bytes;
mod short_int;
mod slab;
mod snapshot;
mod state;
mod stats;
mod store;
mod stored;
mod token_change;
mod token_id;
mod tokens;
mod tombstones;
mod value;
mod written;

pub use admin_log::{AdminAction, AdminLog, AdminRequested};
pub use blocks::{Block, Blocked};
pub use client_sessions::{ClientSession, Lock};
pub use command::{
    Command, Condition, ConfigChange, DeadlineCondition, EntryId, Guard, Op, SessionChange, Stamp, Step,
    Touch, Ttl, value_digest,
};
pub use config::{CacheConfig, TouchConfig};
pub use decimal::{compare_decimals, is_decimal};
pub use digest::Digest;
pub use entry::{EntryInfo, Found, KeyInfo};
pub use error::{BatchFault, CommandError, InvalidField};
pub use eviction::Policy;
pub use forks::{Fork, Gone, key_hash};
pub use grants::{Grant, Need, Role};
pub use grants::{allows as grants_allow, are_valid as grants_are_valid};
pub use hash::{HASH_CONTENT_TYPE, Hash};
pub use idempotency_key::IdempotencyKey;
pub use join_tokens::{JoinToken, JoinUse};
pub use key::{Key, KeyError};
pub use listing::{KeyDetails, LISTED_KEYS_BYTES_MAX, Listed};
pub use lookup::Seen;
pub use memory::CacheMemory;
pub use merge::{Merge, MergeChange, MergeEnd, MergeGuard, MergeOp, MergeResult, MergeStep, MergeTimes};
pub use outcome::{Applied, Cause, Event, KeyState, OpRefusal, Outcome};
pub use quota::{Quota, TokenLimits};
pub use range_digest::{KeyRange, Ranges};
pub use record::{Record, is_origin};
pub use removal::{Absence, Removal, RemovalCause};
pub use scan::Scanned;
pub use secret::SecretHash;
pub use sessions::BrowserSession;
pub use snapshot::{RestoreError, SnapshotView};
pub use state::{Cache, Victim};
pub use stats::Stats;
pub use stored::Stored;
pub use token_change::TokenChange;
pub use token_id::is_token_id;
pub use tokens::{Token, Tokens};
pub use tombstones::{Scope, Tombstone};
pub use value::{Kind, Value, ValueError};
