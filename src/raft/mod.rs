//! The adapters between openraft and the other rooms. No other room names openraft.

mod codec;
#[cfg(test)]
mod codec_test;
mod commit_coalescing;
mod config;
mod consensus;
mod contact;
mod error;
mod handover;
mod inbound;
mod leadership;
mod lease;
mod log;
mod machine;
mod network;
mod offload;
mod proposal;
mod proposal_batcher;
mod rebase;
mod status;
mod stored_log;
mod stored_terms;
#[cfg(test)]
mod suite_test;
mod timing;
mod transfers;
mod types;
mod voted;
mod wire;

pub use codec::{decode_append, decode_entry, encode_append, encode_entry};
pub use config::RaftOptions;
pub use consensus::{Consensus, Resources};
pub use contact::Contact;
pub use error::{MembershipError, ProposeError};
pub use handover::Attempted;
pub use leadership::{Candidacy, Leadership, is_majority};
pub use lease::Lease;
pub use log::Log;
pub use machine::Machine;
pub use offload::{offload, offload_nothing_on_this_thread};
pub use proposal::{Deadlines, Proposed};
pub use rebase::HistoryStart;
pub use status::{MemberState, RaftStatus, Role};
pub use stored_log::{Noted, StoredLogCopy};
pub use stored_terms::snapshot_terms;
pub use timing::Timing;
pub use types::{Entry, LogId, Payload, Vote};
pub use wire::{WireVote, WireVoteRequest, WireVoteResponse};
