//! A proposed command, and the response of `apply` to its proposer.

use crate::cache::{CommandError, Outcome};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A proposed command. It stays encoded: the leader, the log and the peers handle the same bytes, and only `apply`
/// decodes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The leader's time, in milliseconds since the Unix epoch; 0 until the leader stamps it.
    pub at_ms: u64,
    /// The node whose client requested it; 0 for what the cluster does by itself.
    pub by: u64,
    /// Touches to be applied before the command, encoded by [`super::encode_touches`]; empty for none.
    pub touches: Bytes,
    /// A [`super::Envelope`], encoded.
    pub body: Bytes,
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {} ms", self.body.len(), self.at_ms)
    }
}

/// The response of `apply` to the proposer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    pub result: Result<Outcome, CommandError>,
    /// Whether the result is that of an earlier entry with the same idempotency key.
    pub replayed: bool,
}
