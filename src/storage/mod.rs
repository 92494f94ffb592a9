//! The storage room: what a node must still know after a power cut.
//!
//! Two things live here. [`LogStore`] keeps the replicated log, the vote and the node's own records in sled;
//! [`Snapshots`] keeps the newest snapshot file. Both know bytes and indexes, never commands: what an entry means is
//! decided by the rooms above.
//!
//! The promises, in one place:
//!
//! - **R1** A vote is durable before its callback reports success.
//! - **R2** An append is acknowledged only after the flush that made it durable.
//! - **S1** A damaged store is refused, never opened with a part missing. Only the part of the tail that was never
//!   acknowledged may disappear.
//! - **S2** The first failed write or flush poisons the store; nothing is ever retried.
//! - **S3** A snapshot is whole, or it is refused.
//!
//! Read in this order: [`log`](LogStore) (the interface), `open`, `shared` (what callers and the writer share), `writer`
//! (the single writer), `batch_builder` (how several operations become one atomic batch), `record` and `manifest` (the
//! bytes), `recovery` (what is verified when a folder is opened), `engine` and `sled_engine` (the seam to the database),
//! `journal_format`, `journal`, `ahead`, `checkpointer` and `journaled_engine` (what makes a flush cheap), `pages` and
//! `root` (how the rest of the log is stored in the database), `watermark`, then the snapshot files. `rolling` is for data that may be lost.

mod ahead;
mod batch_builder;
mod checkpointer;
mod engine;
mod entry_cache;
mod error;
mod files;
mod journal;
mod journal_format;
mod journaled_engine;
mod log;
mod log_op;
mod log_options;
mod log_store_inner;
mod manifest;
#[cfg(test)]
pub(crate) mod memory_engine;
mod open;
mod pages;
mod record;
mod record_index;
mod recovery;
mod rolling;
mod root;
mod shared;
mod sled_engine;
mod snapshot;
mod snapshot_format;
mod stored_log;
mod switch;
mod synced_writer;
#[cfg(feature = "sabotage")]
mod unflushed_engine;
mod watermark;
mod writer;

pub use engine::{Engine, EngineMemory, Mutation};
pub use error::{OpenError, StorageError};
pub use files::{FolderLock, write_durably};
pub use log::LogStore;
pub use log_op::Callback;
pub use log_options::LogOptions;
pub use open::LogStoreBuilder;
pub use rolling::{Rolled, RollingFile};
pub use shared::{FLUSH_BOUNDS_US, FlushStats, LogMemory};
pub use snapshot::{
    IncomingSnapshot, ReceivedSnapshot, SnapshotFile, Snapshots, WeakSnapshots, name_aside, verify_file,
};
pub use snapshot_format::{SnapshotBody, SnapshotMetaInfo};
pub use stored_log::StoredLog;
pub use switch::FolderSwitch;
