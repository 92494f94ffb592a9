//! What openraft is told about our types, and the names the rest of this room uses for its generics.

use super::proposals::Answer;
use crate::cache::{CommandError, Outcome};
use bytes::Bytes;
use openraft::impls::leader_id_std::LeaderId;
use openraft::vote::RaftLeaderId;
use openraft::{OptionalSend, RaftTypeConfig};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Standard Raft: one leader a term, a log id is (term, index).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Types;

/// By hand, because openraft's macro for it takes no responder.
impl RaftTypeConfig for Types {
    type D = Proposal;
    type R = Response;
    type NodeId = u64;
    type Node = Member;
    type Term = u64;
    type LeaderId = LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Self::D, Self::NodeId, Self::Node>;
    type Entry = openraft::Entry<<Self::LeaderId as RaftLeaderId>::Committed, Self::Payload>;
    type AsyncRuntime = openraft::impls::TokioRuntime;
    type Responder<T>
        = Answer<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub type Entry = openraft::type_config::alias::EntryOf<Types>;
pub type Payload = openraft::EntryPayload<Proposal, u64, Member>;
pub type LogId = openraft::type_config::alias::LogIdOf<Types>;
pub type Vote = openraft::type_config::alias::VoteOf<Types>;
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;

/// A command on its way through the log. It stays encoded: leader, log and peers pass the same bytes on,
/// and only `apply` reads them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The leader's time, in milliseconds since the Unix epoch; 0 until the leader stamps it.
    pub at_ms: u64,
    /// The node whose client asked for it; 0 for what the cluster does by itself.
    pub by: u64,
    /// Reads to be counted before the command, encoded by [`super::codec::encode_touches`]; empty for none.
    pub touches: Bytes,
    /// A [`super::codec::Envelope`], encoded.
    pub body: Bytes,
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {} ms", self.body.len(), self.at_ms)
    }
}

/// What `apply` answers to the proposer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    pub result: Result<Outcome, CommandError>,
    /// The answer was remembered from an earlier entry with the same idempotency key.
    pub replayed: bool,
}

/// A node as the membership knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub name: String,
    /// Where clients reach it, as a URL.
    pub http: String,
    /// Where peers reach it, as host:port.
    pub peer: String,
    /// The data folder's own number: a wiped folder has another, so a node that lost its data is not
    /// taken for the one it was.
    pub store_uuid: String,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.peer)
    }
}
