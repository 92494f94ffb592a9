//! Keeps local caches and a cluster in step, also for programs that are not always connected.
//!
//! Local changes are kept in a journal and sent when there is a connection; what others change is taken over at once. For each key a
//! synchronizer knows what both sides last agreed upon. A change of one side only is never a conflict, whatever clocks say; where both
//! changed a key, a [`Policy`] decides. Local changes are sent by compare-and-set: nobody's change is put over unseen.
//!
//! ```no_run
//! use lockstep::client::Client;
//! use lockstep::client::sync::{CacheSynchronizer, FileStorage, SyncOptions, SyncValue};
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(&["http://127.0.0.1:5000".into()], Duration::from_secs(10))?;
//! let options = SyncOptions {
//!     storage: Arc::new(FileStorage::new("/var/lib/app/journal")),
//!     on_conflict: Arc::new(|decided| println!("{}: {:?}", decided.conflict.key, decided.winner)),
//!     ..SyncOptions::default()
//! };
//! let sync = CacheSynchronizer::new(client, options)?;
//! sync.connect("till-7").await?;
//!
//! sync.set("cart:1", SyncValue::text("3 items")).await?; // kept when this ends, sent with the next sync
//! sync.add("sold", 1).await?; // summed up with the additions of all others
//! sync.sync().await?;
//! println!("{:?}", sync.status().await);
//! sync.close().await?;
//! # Ok(())
//! # }
//! ```

mod client;
mod cluster;
mod decide;
mod file;
mod hash;
mod hints;
mod histories;
mod journal;
mod judge;
mod local;
mod options;
mod pull;
mod push;
mod queue;
mod record;
mod room;
mod running;
mod state;
mod storage;
mod subscribers;
mod synchronizer;
mod turn;
mod types;

pub use cluster::{
    Asked, BatchDone, ChangesPage, ClusterHistory, ClusterLineage, FeedMessage, FoundKey, KeyChange,
    KeyState, KeysPage, KeysRead, OpDone, Place, SyncCluster, SyncFeed,
};
pub use decide::{
    BaseState, ChangeKind, ClockState, Decision, Deletes, LocalChange, Policy, Question, RemoteState,
    Verdict, decide,
};
pub use file::FileStorage;
pub use options::{Direction, Group, MissingKeys, Mode, OnEvict, Resolve, SyncOptions, Told};
pub use storage::{MemoryStorage, SyncStorage};
pub use subscribers::SyncChanges;
pub use synchronizer::CacheSynchronizer;
pub use types::{
    BoxError, ChangeCause, ChangeOrigin, Conflict, DecidedConflict, LocalCache, LocalSide, RemoteSide,
    Resolution, SyncChange, SyncDetails, SyncError, SyncEvent, SyncStatus, SyncValue, Winner,
};
