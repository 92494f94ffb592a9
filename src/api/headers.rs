//! Names of the headers that answers and requests carry beyond HTTP's own.

/// The log index of the answer.
pub const INDEX: &str = "lockstep-index";
/// The Raft term of the answer.
pub const TERM: &str = "lockstep-term";
/// The id of the history that the answer is from: indexes and revisions of different histories cannot be compared. In every
/// answer.
pub const HISTORY: &str = "lockstep-history";
/// In a request, the id of the history that the client expects, or its beginning. If the node is in another one, it does
/// nothing and answers `other_history`.
pub const EXPECT_HISTORY: &str = "lockstep-expect-history";
/// What a read guarantees: `linearizable`, `lease`, `stale`, or `detached` in every answer of a node that has left its cluster on
/// purpose. In a request about data, `linearizable` has such a node refuse it.
pub const CONSISTENCY: &str = "lockstep-consistency";
/// The remaining TTL of a value, in milliseconds.
pub const TTL_MS: &str = "lockstep-ttl-ms";
/// Revision of the value that a write replaced or removed, on an answer that carries that value.
pub const PREVIOUS_REVISION: &str = "lockstep-previous-revision";
/// The client's name for a request, so that a retry is applied once.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// `true` if the answer is that of an earlier request with the same idempotency key.
pub const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";
