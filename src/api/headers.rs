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
/// What is known of an entry beside its value, as a dictionary of RFC 9651: `version`, `created_at_ms`, `modified_at_ms`, and where
/// there is one `sliding_ms` and `origin`.
pub const ENTRY: &str = "lockstep-entry";
/// Log time of the answer, in milliseconds since the Unix epoch.
pub const TIME_MS: &str = "lockstep-time-ms";
/// In a request, the client's name for itself: it stays with the values that it stores, and is told to watchers.
pub const ORIGIN: &str = "lockstep-origin";
/// The client's name for a request, so that a retry is applied once.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// `<index>@<history>`: a log index that the client knew before it first sent the request that its idempotency key names.
pub const IDEMPOTENCY_SENT_AFTER: &str = "idempotency-sent-after";
/// `true` if the answer is that of an earlier request with the same idempotency key.
pub const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";
