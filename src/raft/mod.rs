//! Thin adapters between openraft and our rooms. The only room that names openraft.

mod clock;
mod codec;
#[cfg(test)]
mod codec_test;
mod commits;
mod config;
mod consensus;
mod feed;
mod inbound;
mod log;
mod machine;
mod network;
mod offload;
mod proposals;
mod rebase;
mod recent;
mod replica;
#[cfg(test)]
mod suite_test;
mod types;
mod unanswered;
mod wire;

pub use clock::{LogClock, wall_ms};
pub use codec::{
    COMMAND_BYTES_MAX, CodecError, Envelope, decode_append, decode_entry, decode_touches, encode_append,
    encode_entry, encode_touches, from_postcard, from_versioned, take_part, to_bytes, to_versioned,
};
pub use consensus::{
    Consensus, Ground, MemberState, MembershipError, ProposeError, Proposed, ReadIndexError, Role, Timing,
    View,
};
pub use feed::{Change, Feed, Forgotten, Page};
pub use log::Log;
pub use machine::Machine;
pub use offload::{offload, offload_nothing_on_this_thread};
pub use rebase::Backup;
pub use recent::{Operation, RECENT_MAX, What};
pub use replica::Replica;
pub use types::{Entry, LogId, Member, Payload, Proposal, Response, Vote};
pub use wire::{WireLogId, WireVote, WireVoteRequest};
