//! What ids of tokens, sessions and join tokens look like.

use super::limits::TOKEN_ID_BYTES;

/// Whether this can be the id of a token.
pub fn is_token_id(id: &str) -> bool {
    id.len() == TOKEN_ID_BYTES && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}
