//! A node's copy of the replicated state. It applies committed log entries, keeps what changed lately, and knows nothing of
//! how entries come to be committed.

mod applied_index;
mod apply_times;
mod clock;
mod codec;
mod digests;
mod envelope;
mod feed;
mod membership;
mod proposal;
mod recent;
#[expect(clippy::module_inception, reason = "the room is named after what it is about")]
mod replica;

pub use apply_times::ApplyStats;
pub use clock::{LogClock, wall_ms};
pub use codec::{
    CodecError, expect_version, from_postcard, from_versioned, take_part, to_bytes, to_versioned,
};
pub use envelope::{COMMAND_BYTES_MAX, Envelope, decode_touches, encode_touches};
pub use feed::{Change, Feed, Forgotten, Page};
pub use membership::{LogPosition, Member, Membership, StoredMembership};
pub use proposal::{Proposal, Response};
pub use recent::{Operation, RECENT_MAX, What};
pub use replica::{Committed, Content, Picture, Replica};
