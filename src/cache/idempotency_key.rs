//! The names that clients give their requests.

use serde::{Deserialize, Serialize};

/// A client's name for a request, so that a retry is applied once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyKey {
    pub text: String,
    /// A log index that the client knew before it first sent the request. If a result from after it was dropped, that may have
    /// been this request's, so it is refused instead of being applied, perhaps for a second time.
    pub sent_after: Option<u64>,
}

impl From<String> for IdempotencyKey {
    fn from(text: String) -> Self {
        Self { text, sent_after: None }
    }
}

impl From<&str> for IdempotencyKey {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}
