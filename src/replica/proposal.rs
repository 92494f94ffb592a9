//! A command on its way through the log, and the answer of `apply` to whoever proposed it.

use crate::cache::{CommandError, Outcome};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A command on its way through the log. It stays encoded: leader, log and peers pass the same bytes on,
/// and only `apply` reads them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The leader's time, in milliseconds since the Unix epoch; 0 until the leader stamps it.
    pub at_ms: u64,
    /// The node whose client asked for it; 0 for what the cluster does by itself.
    pub by: u64,
    /// Reads to be counted before the command, encoded by [`super::encode_touches`]; empty for none.
    pub touches: Bytes,
    /// A [`super::Envelope`], encoded.
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
