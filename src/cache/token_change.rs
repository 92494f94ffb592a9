//! Changes to the tokens, as log entries have them.

use super::blocks::Blocked;
use super::grants::Grant;
use super::join_tokens::JoinUse;
use super::quota::TokenLimits;
use super::secret::SecretHash;
use serde::{Deserialize, Serialize};

/// A change to the tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenChange {
    /// From the first one on, every request needs a token.
    Create {
        id: String,
        name: String,
        secret: SecretHash,
        grants: Vec<Grant>,
        limits: TokenLimits,
        ttl_ms: Option<u64>,
    },
    /// A new secret; the old one stays good for so long. Sessions end.
    Rotate {
        id: String,
        secret: SecretHash,
        overlap_ms: u64,
    },
    /// Other limits; the secret stays, and sessions go on.
    Limit {
        id: String,
        limits: TokenLimits,
    },
    Revoke {
        id: String,
    },
    /// A session of the token `parent`.
    BeginSession {
        id: String,
        secret: SecretHash,
        parent: String,
        ttl_ms: u64,
    },
    EndSession {
        id: String,
    },
    /// Tokens that somebody else has signed are refused from now on; for ever without `ttl_ms`.
    Block {
        blocked: Blocked,
        ttl_ms: Option<u64>,
    },
    Unblock {
        blocked: Blocked,
    },
    /// A join token: a node of this name may join, with a certificate for these hosts.
    CreateJoin {
        id: String,
        secret: SecretHash,
        node: String,
        hosts: Vec<String>,
        ttl_ms: u64,
    },
    UseJoin {
        id: String,
        by: JoinUse,
    },
}
