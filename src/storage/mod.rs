//! The storage room: what a node must still know after a power cut.
//!
//! Two things live here. [`LogStore`] keeps the replicated log, the vote and the node's own records in sled;
//! [`Snapshots`] keeps the newest snapshot file. Both know bytes and indexes, never commands: what an entry means is
//! decided above.
//!
//! The promises, in one place:
//!
//! - **R1** A vote is durable before anyone is told that it was saved.
//! - **R2** An append is acknowledged only after the flush that made it durable.
//! - **S1** A damaged store is refused, never opened shortened. Only the part of the tail that was never
//!   acknowledged may disappear.
//! - **S2** The first failed write or flush poisons the store; nothing is ever retried.
//! - **S3** A snapshot is whole, or it is refused.
//!
//! Read in this order: [`log`](LogStore) (the interface), `shared` (what callers and the writer share), `owner` and
//! `writer` (the one hand that writes), `stage` (how a drained queue becomes one atomic batch), `record` and
//! `manifest` (the bytes), `recovery` (what is checked when a folder is opened), `engine` and `sled_engine` (the seam
//! to the database), `journal` and `journaled_engine` (what makes a flush cheap), `pages` and `root` (where the log lies
//! in the database), `watermark`, then the snapshot files. `rolling` is for what may be lost.

mod engine;
mod error;
mod files;
mod index;
mod journal;
mod journaled_engine;
mod log;
mod manifest;
#[cfg(test)]
pub(crate) mod memory_engine;
mod owner;
mod paced;
mod pages;
mod recent;
mod record;
mod recovery;
mod rolling;
mod root;
mod shared;
mod sled_engine;
mod snapshot;
mod snapshot_format;
mod stage;
mod state;
#[cfg(feature = "sabotage")]
mod unflushed_engine;
mod watermark;
mod writer;

pub use engine::{Change, Engine};
pub use error::{OpenError, StorageError};
pub use log::{Callback, FlushStats, LogOptions, LogStore, PoisonListener};
pub use rolling::{Rolled, RollingFile};
pub use snapshot::{ReceivedSnapshot, Receiving, SnapshotFile, Snapshots, WeakSnapshots, verify_file};
pub use snapshot_format::{SnapshotBody, SnapshotMetaInfo};
pub use state::StoredLog;
