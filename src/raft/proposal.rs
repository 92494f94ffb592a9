//! How long a proposal may take, and what comes of it.

use crate::replica::Response;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// The deadlines of a proposal.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// Until when it is proposed: until then attempts that had no effect are repeated.
    pub propose: Instant,
    /// Until when to wait for the outcome.
    pub answer: Instant,
}

impl Deadlines {
    /// A single attempt, now.
    pub fn at_once(answer: Instant) -> Self {
        Self { propose: Instant::now(), answer }
    }
}

/// An applied proposal: the position of its log entry, and the response of `apply`. A leader sends it to the node that
/// forwarded the write, so the fields and their order are part of the peer protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposed {
    pub index: u64,
    pub term: u64,
    pub response: Response,
}
