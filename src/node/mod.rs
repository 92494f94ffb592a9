//! A node: the use cases that the HTTP layer and the embedding API call. No HTTP here, no openraft either.

mod addresses;
mod admin;
mod admin_session;
mod admission;
mod answered_uses;
mod audit;
mod background;
mod bootstrap;
mod campaign;
mod cluster_health;
mod discovery;
mod error;
mod folder;
mod forward;
mod handler;
mod heartbeats;
mod hot_keys;
mod identity;
mod inner;
mod key_scope;
mod leadership;
mod nodes;
mod options;
mod origin;
mod own_reads;
mod pending_reads;
mod read;
mod read_index;
mod read_samples;
mod release;
mod report;
mod restore;
mod samples;
mod session;
mod shadow;
mod snapshot;
mod start;
mod status;
mod touch_buffer;
mod touches;
mod upgrade;
mod warnings;
mod watch;
mod write;

pub use admin_session::Admin;
pub use bootstrap::Bootstrap;
pub use error::{NodeError, StartError};
pub use folder::{lineage_of_backup, lineage_of_folder};
pub use key_scope::KeyScope;
pub use options::{Limits, NodeOptions, Origin};
pub use read::ReadAt;
pub use release::Release;
pub use report::NodeCounters;
pub use restore::restore_backup;
pub use samples::{Sample, SampleFile, SamplesOf};
pub use session::{
    EntriesPage, KeysPage, ListKeys, ListedKey, Principal, Session, SessionError, SessionWatch,
};
pub use start::{Node, Opened, Resources};
pub use watch::{PAGE_BYTES, WatchItem};
pub use write::{WriteRequest, Written};

pub use crate::api::Consistency;
pub use crate::raft::{RaftOptions, Role};
pub use crate::replica::{ChangeSet, Operation, OperationKind};
