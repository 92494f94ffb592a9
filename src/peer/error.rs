//! Why there is no answer from a peer, and whether it may have acted.

use crate::lineage::Lineage;
use std::sync::Arc;

/// Why there is no answer from a peer. `Unreachable`, `NotListening`, `OtherCluster`, `OtherHistory` and `Refused` mean
/// that it did nothing. After `Lost` or `TimedOut` it may have carried out the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    #[error("cannot reach the peer: {0}")]
    Unreachable(String),
    /// The machine answers, but nothing listens at the address.
    #[error("the peer does not run: {0}")]
    NotListening(String),
    /// A node of another cluster listens at this address.
    #[error("the node at {0} belongs to another cluster")]
    OtherCluster(String),
    /// The node's log belongs to another history of the cluster, the last one of this lineage.
    #[error("the node belongs to history {} of the cluster ({})", .0.current().number, .0.current().id)]
    OtherHistory(Arc<Lineage>),
    #[error("the peer refused: {0}")]
    Refused(String),
    #[error("the connection to the peer was lost")]
    Lost,
    #[error("the peer did not answer in time")]
    TimedOut,
}
