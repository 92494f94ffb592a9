//! A node's copy of the replicated state. It applies committed log entries and keeps the latest changes for watchers.
//! How an entry is committed is none of its business: that is `raft`'s.

mod applied_index;
mod apply_times;
mod change_log;
mod client_names;
mod clock;
mod codec;
mod contention;
mod digests;
mod envelope;
mod membership;
mod operation;
mod proposal;
mod replay;
#[expect(clippy::module_inception, reason = "the room is named after what it is about")]
mod replica;

pub use apply_times::ApplyStats;
pub use change_log::{ChangeLog, ChangeSet, Compacted, Page};
pub use client_names::{ClientNames, OldNodeOperation};
pub use clock::{LogClock, wall_ms};
pub use codec::{
    CodecError, expect_version, from_postcard, from_versioned, take_part, to_bytes, to_versioned,
};
pub use envelope::{COMMAND_BYTES_MAX, Envelope, decode_touches, encode_touches};
pub use membership::{LogPosition, Member, Membership, StoredMembership};
pub use operation::{Operation, OperationKind, RECENT_MAX};
pub use proposal::{Proposal, Response};
pub use replay::Replay;
pub use replica::{Committed, Content, DecodedEntries, Replica, ReplicaSnapshot};
