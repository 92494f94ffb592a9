//! Tokens in requests and answers. A secret is in one answer only: that to the request that made it.

use super::joining::JoinTokenInfo;
use crate::cache::{Blocked, Grant, Token, TokenLimits};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A whole token, as its holder keeps it. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(String);

impl TokenText {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The token itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(..)")
    }
}

/// What is known of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// The part of the token between the underscores.
    pub id: String,
    pub name: String,
    pub grants: Vec<Grant>,
    /// What its holder may use of each node.
    #[serde(default)]
    pub limits: TokenLimits,
    /// Log time, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// `null` never expires.
    pub expires_at_ms: Option<u64>,
    /// Until when the secret before the last rotation is good, if it still is.
    pub old_secret_until_ms: Option<u64>,
}

impl TokenInfo {
    /// At this log time.
    pub fn of(token: &Token, now_ms: u64) -> Self {
        let until = token.previous.as_ref().map(|(_, until)| *until);
        Self {
            id: token.id.clone(),
            name: token.name.clone(),
            grants: token.grants.clone(),
            limits: token.limits,
            created_at_ms: token.created_at_ms,
            expires_at_ms: token.expires_at_ms,
            old_secret_until_ms: until.filter(|until| *until > now_ms),
        }
    }
}

/// Answer of `GET /v1/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenList {
    /// Whether requests need a token.
    pub required: bool,
    /// Those that are good, in the order of their names.
    pub tokens: Vec<TokenInfo>,
    /// The join tokens that are good, in the order of their ids.
    #[serde(default)]
    pub join_tokens: Vec<JoinTokenInfo>,
}

/// Body of `POST /v1/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    pub name: String,
    pub grants: Vec<Grant>,
    #[serde(default)]
    pub limits: TokenLimits,
    /// `null` never expires.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
}

/// Body of `POST /v1/tokens/{id}/rotate`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RotateToken {
    /// How long the old secret stays good.
    pub overlap_ms: u64,
}

/// Answer to a request that made a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeToken {
    pub id: String,
    /// The whole token. Nobody can tell it again.
    pub token: String,
    /// Index of the log entry.
    pub revision: u64,
}

impl fmt::Debug for MadeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MadeToken({})", self.id)
    }
}

/// Answer to a request that changed or ended a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedToken {
    pub id: String,
    /// Index of the log entry.
    pub revision: u64,
}

/// Body of `POST /v1/blocks`: tokens of others that are refused from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockRequest {
    /// `{"subject": "…"}`, or `{"jwt_id": "…"}` for a single token.
    pub blocked: Blocked,
    /// `null` is until the block is lifted, or, for a single token, as long as it can be good.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
}

/// A block that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockInfo {
    pub blocked: Blocked,
    /// Log time, in milliseconds since the Unix epoch; `null` is until it is lifted.
    pub until_ms: Option<u64>,
}

/// Answer of `GET /v1/blocks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockList {
    pub blocks: Vec<BlockInfo>,
}

/// Answer to a request that made or lifted a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedBlock {
    /// Index of the log entry.
    pub revision: u64,
}
