//! Thin adapters between openraft and our rooms. The only room that names openraft.

mod codec;
#[cfg(test)]
mod codec_test;
mod commits;
mod config;
mod consensus;
mod inbound;
mod log;
mod machine;
mod network;
mod offload;
mod proposals;
mod rebase;
#[cfg(test)]
mod suite_test;
mod types;
mod unanswered;
mod wire;

pub use codec::{decode_append, decode_entry, encode_append, encode_entry};
pub use consensus::{
    Consensus, Ground, MemberState, MembershipError, ProposeError, Proposed, ReadIndexError, Role, Timing,
    View,
};
pub use log::Log;
pub use machine::Machine;
pub use offload::{offload, offload_nothing_on_this_thread};
pub use rebase::Backup;
pub use types::{Entry, LogId, Payload, Vote};
