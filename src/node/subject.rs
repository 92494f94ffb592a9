//! Whoever a token speaks of that somebody else has signed.

use crate::cache::Grant;
use serde::{Deserialize, Serialize};

/// Who asks, and what they may do, as their node has verified it. The leader believes its peers, and judges by its own clock and by
/// the blocks that it knows.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The claim `sub`.
    pub name: String,
    /// The claim `jti`.
    pub jwt_id: Option<String>,
    /// In milliseconds since 1970.
    pub expires_at_ms: u64,
    pub grants: Vec<Grant>,
}
