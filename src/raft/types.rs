//! What openraft is told about our types, and the names the rest of this room uses for its generics.

use super::proposals::Answer;
use crate::replica::{Member, Proposal, Response};
use openraft::impls::leader_id_std::LeaderId;
use openraft::vote::RaftLeaderId;
use openraft::{OptionalSend, RaftTypeConfig};

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
pub type RaftMembership = openraft::Membership<u64, Member>;
pub type RaftStoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;
