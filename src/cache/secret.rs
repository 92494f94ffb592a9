//! What is kept of a secret.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// SHA-256 of a token's secret. The secret has 256 random bits, so a slow hash would add nothing.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretHash(pub [u8; 32]);

impl SecretHash {
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Compares without telling by its time how many bytes are equal.
    pub(super) fn equals(&self, other: &Self) -> bool {
        let differing = self.0.iter().zip(other.0).fold(0, |found, (mine, theirs)| found | (mine ^ theirs));
        std::hint::black_box(differing) == 0
    }
}

impl std::fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretHash(..)")
    }
}
