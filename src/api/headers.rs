//! Names of the headers that answers and requests carry beyond HTTP's own.

/// Log index the answer was given at.
pub const INDEX: &str = "lockstep-index";
/// Raft term the answer was given in.
pub const TERM: &str = "lockstep-term";
/// What a read guarantees: `linearizable`, `lease` or `stale`.
pub const CONSISTENCY: &str = "lockstep-consistency";
/// Milliseconds a value has left.
pub const TTL_MS: &str = "lockstep-ttl-ms";
/// Revision of the value that a write replaced or removed, on an answer that carries that value.
pub const PREVIOUS_REVISION: &str = "lockstep-previous-revision";
/// The client's name for a request, so that a retry is applied once.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// `true` on an answer remembered from an earlier request with the same key.
pub const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";
