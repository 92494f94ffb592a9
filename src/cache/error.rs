//! Why the state machine refuses a command. Refusals are stored with idempotency keys, so new variants are only ever
//! added at the end.

use serde::{Deserialize, Serialize};

/// A command's refusal: nothing was changed. `op` is the position in a batch that was at fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum CommandError {
    /// The condition did not hold; `current` is the revision of the key, if it is present.
    #[error("precondition failed: {}", match current { Some(r) => format!("the key is at revision {r}"), None => "the key is absent".into() })]
    PreconditionFailed { op: Option<u32>, current: Option<u64> },
    /// The entry alone exceeds the capacity in bytes.
    #[error("too large: the entry counts {bytes} bytes, the cache holds {capacity_bytes}")]
    TooLarge { op: Option<u32>, bytes: u64, capacity_bytes: u64 },
    /// The policy is `noeviction`, and there is no room.
    #[error("the cache is full and its policy is noeviction")]
    CacheFull { op: Option<u32> },
    /// `incr` on a value that is no 64-bit decimal number.
    #[error("the value is not a 64-bit decimal integer")]
    NotANumber { op: Option<u32> },
    /// `incr` past the 64-bit range.
    #[error("the counter would leave the 64-bit range")]
    Overflow { op: Option<u32> },
    /// A batch that writes one key twice, is empty, or has too many operations.
    #[error("invalid batch: {reason}")]
    InvalidBatch { op: Option<u32>, reason: String },
    /// A TTL outside the limits, or another field that the HTTP layer should have refused.
    #[error("invalid {field}: {reason}")]
    Invalid { op: Option<u32>, field: String, reason: String },
    /// The idempotency key was used before, for another command.
    #[error("the idempotency key was used for a different request")]
    IdempotencyKeyReused,
    /// A command of a later feature level than the cluster keeps. It is not remembered: once the level is raised, the
    /// same request is carried out.
    #[error(
        "this needs feature level {needed}, and the cluster keeps level {kept}: once all nodes run a release that knows \
         it, `lockstep upgrade finish` raises the level"
    )]
    FeatureLevel { needed: u32, kept: u32 },
}
