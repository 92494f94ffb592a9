//! A node: the use cases that the HTTP layer and the embedding API call. No HTTP here, no openraft either.

mod addresses;
mod admin;
mod admission;
mod answered_uses;
mod audit;
mod background;
mod backup;
mod error;
mod formation;
mod forward;
mod handler;
mod hot_keys;
mod identity;
mod nodes;
mod options;
mod own_reads;
mod peers;
mod pending_reads;
mod place;
mod read;
mod read_index;
mod read_samples;
mod report;
mod restore;
mod samples;
mod shadow;
mod standing;
mod start;
mod status;
mod touch_buffer;
mod touches;
mod warnings;
mod watch;
mod write;

pub use error::{NodeError, StartError};
pub use formation::Formation;
pub use options::{Limits, NodeOptions, Origin};
pub use read::{ReadAt, ReadLevel};
pub use report::Vitals;
pub use restore::restore_backup;
pub use samples::{KeptSamples, Sample, SamplesOf};
pub use start::{Ground, Node, Opened};
pub use watch::{News, PAGE_BYTES, Watch};
pub use write::{WriteRequest, Written};

pub use crate::raft::{Change, Operation, Role, Timing, What};
