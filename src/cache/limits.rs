//! Every limit of the state machine, in one place. The limits are part of the replicated rules: two nodes
//! with different values would disagree, so changing one after a release needs a new feature level.

/// Longest key, in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 4_096;
/// Longest name of a client session or a lock, and longest prefix in a token's grant, in bytes. There are many of each, all in
/// memory and in single answers, so they stay shorter than keys.
pub const NAME_BYTES_MAX: usize = 512;
pub const GRANT_PREFIX_BYTES_MAX: usize = 512;
/// Largest value that the log accepts, in bytes. The HTTP layer may be configured lower.
pub const VALUE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Longest `Content-Type` of a value, in bytes.
pub const CONTENT_TYPE_BYTES_MAX: usize = 255;
/// Longest name that a client gives itself as the origin of its writes, in bytes.
pub const ORIGIN_BYTES_MAX: usize = 64;
/// Most operations in one batch.
pub const BATCH_OPS_MAX: usize = 1_024;
/// Most operations of one sequence, and most of its guards.
pub const SEQUENCE_OPS_MAX: usize = 16_384;
pub const SEQUENCE_GUARDS_MAX: usize = 16_384;
/// Most guards of a sequence that are about the keys with a prefix, most keys that all of these may count, and most keys for each that have
/// expired and are not removed yet: each of those is looked at when it is applied.
pub const PREFIX_GUARDS_MAX: usize = 64;
pub const GUARDED_KEYS_MAX: u64 = 16_384;
pub const GUARDED_EXPIRED_MAX: u64 = 256;
/// Most bytes that the operations of one log entry may copy to build values out of those that are there, most that they may so
/// add to what watchers are told, and most bytes of entries that they may replace or remove: each is read for the digest.
pub const COPIED_BYTES_PER_APPLY_MAX: u64 = 64 * 1024 * 1024;
pub const TOLD_BYTES_PER_APPLY_MAX: u64 = 4 * 1024 * 1024;
pub const REPLACED_BYTES_PER_APPLY_MAX: u64 = 3 * 1024 * 1024 * 1024;
/// Longest decimal number that an operation reads or adds, in bytes.
pub const DECIMAL_BYTES_MAX: usize = 256;
/// Most revisions that one condition may list.
pub const CONDITION_REVISIONS_MAX: usize = 16;
/// Shortest and longest time to live, in milliseconds (the longest is about 4,460 years; no deadline is later than the 48 bits of
/// its number can say).
pub const TTL_MS_MIN: u64 = 1;
pub const TTL_MS_MAX: u64 = 1 << 47;
/// Longest time to live that uses can renew, in milliseconds (about 49 days).
pub const SLIDING_TTL_MS_MAX: u64 = u32::MAX as u64;
/// How long reads may be collected before they count, in milliseconds.
pub const TOUCH_INTERVAL_MS: std::ops::RangeInclusive<u64> = 10..=60_000;
/// Most entries that one log entry may count reads of.
pub const TOUCHES_MAX: u64 = 8_192;
/// What an entry costs beyond its key and value, in bytes: a fixed charge, independent of the allocator.
pub const ENTRY_OVERHEAD_BYTES: u64 = 128;
/// Longest idempotency key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
/// Longest one as it is stored: behind whose it is.
pub const STORED_IDEMPOTENCY_KEY_BYTES_MAX: usize = IDEMPOTENCY_KEY_BYTES_MAX + 24;
/// Most results stored for idempotency keys, and the bytes that they may take together.
pub const DEDUP_RESULTS_MAX: usize = 65_536;
pub const DEDUP_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long a result is stored at most, in milliseconds of log time.
pub const DEDUP_MS_MAX: u64 = 10 * 60 * 1_000;
/// Most tombstones kept, and most bytes of the keys and prefixes that they name; the oldest are dropped first.
pub const TOMBSTONES_MAX: usize = 65_536;
pub const TOMBSTONES_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Most forks that are open at a time, and most keys that each notes. What goes beyond is counted, not noted.
pub const FORKS_MAX: usize = 16;
pub const GONE_MAX: usize = 1 << 20;
/// Most merges that are remembered; the oldest are dropped first.
pub const MERGES_MAX: usize = 64;
/// The greatest log index that can be named: JSON numbers hold it exactly in every client.
pub const INDEX_MAX: u64 = (1 << 53) - 1;
/// Most steps of a merge, and most of its keys, that are remembered; later steps count as changes of this side.
pub const MERGE_STEPS_MAX: usize = 1 << 20;
/// Of how many of a merge's newest steps the results are remembered: whoever sends steps can have so many under way.
pub const MERGE_RESULTS_KEPT: usize = 4;
/// Most histories of which is remembered how far they are decided: no cluster has more.
pub const HISTORIES_MAX: usize = 1_024;
/// Longest id of a history or a merge, in bytes.
pub const HISTORY_BYTES_MAX: usize = 64;
/// Most entries that one log entry may expire, and most that it may evict: the rest waits for the next log entry, so that
/// no single `apply` takes long. (Room for what a log entry itself stores is always made at once.)
pub const EXPIRE_PER_APPLY_MAX: usize = 1_024;
pub const EVICT_PER_APPLY_MAX: usize = 1_024;
/// Most cleared entries whose memory one log entry frees. A clear of no more than this frees them itself.
pub const FREE_PER_APPLY_MAX: usize = 128;
/// Most cleared entries that one log entry may free beyond that, because a write needs their room (`noeviction`), or
/// because so many clears are pending that another one must be long to join them.
pub const FREE_FOR_WRITE_MAX: usize = 16_384;
pub const PENDING_CLEARS_SHORT_MAX: usize = 64;
/// About how many bytes one log entry may remove in each of these ways.
pub const REMOVED_BYTES_PER_APPLY_MAX: u64 = 8 * 1024 * 1024;
/// Most entries that one log entry may reinsert instead of evicting them (`s3fifo`).
pub const REINSERTS_PER_APPLY_MAX: u32 = 4_096;
/// Most entries that one log entry may move to the order of another policy after a switch.
pub const MOVES_PER_APPLY_MAX: usize = 2_048;
/// Most entries that a cache can be configured for: slot numbers have 32 bits.
pub const CAPACITY_ENTRIES_MAX: u64 = 1 << 31;
/// Most bytes that the outcomes of a batch may take together: as much as a batch may write, and little enough that storing
/// a few of them for their idempotency keys does not push out those of all other clients.
pub const BATCH_OUTCOME_BYTES_MAX: u64 = 2 * 1024 * 1024 + 64 * 1024;
/// Most tokens that are good at a time, and what one has: its id, its name, grants.
pub const TOKENS_MAX: usize = 1_024;
pub const TOKEN_ID_BYTES: usize = 10;
pub const TOKEN_NAME_BYTES_MAX: usize = 128;
pub const GRANTS_MAX: usize = 32;
/// Most blocks of tokens that others have signed, and how long the name of what is blocked can be.
pub const BLOCKS_MAX: usize = 4_096;
pub const BLOCKED_BYTES_MAX: usize = 256;
/// How long such a token may be good. A block of a single one is forgotten then.
pub const JWT_LIFE_MS_MAX: u64 = 24 * 60 * 60 * 1_000;
/// Most join tokens, how long one is good, and what one has: the name of a node and its hosts.
pub const JOIN_TOKENS_MAX: usize = 64;
pub const JOIN_TTL_MS_MAX: u64 = 60 * 60 * 1_000;
pub const JOIN_HOSTS_MAX: usize = 16;
pub const NODE_NAME_BYTES_MAX: usize = 64;
pub const HOST_BYTES_MAX: usize = 253;
/// Longest UUID of a data folder.
pub const STORE_ID_BYTES_MAX: usize = 64;
/// What a quota can be.
pub const QUOTA_COUNT_MAX: u64 = 1_000_000_000_000;
pub const QUOTA_WINDOW_MS_MAX: u64 = 24 * 60 * 60 * 1_000;
/// Most sessions of a token: the oldest makes room.
pub const SESSIONS_MAX: usize = 16;
/// Most client sessions at a time, how long one can last without being renewed, in milliseconds, and most locks, in all and of one
/// session.
pub const CLIENT_SESSIONS_MAX: usize = 4_096;
pub const SESSION_TTL_MS_MIN: u64 = 1_000;
pub const SESSION_TTL_MS_MAX: u64 = 60 * 60 * 1_000;
pub const LOCKS_MAX: usize = 8_192;
pub const LOCKS_PER_SESSION_MAX: usize = 1_024;
/// How many actions of operators are remembered, and how long each text about one is.
pub const ADMIN_ACTIONS_MAX: usize = 1_000;
pub const ADMIN_TEXT_BYTES_MAX: usize = 256;
/// The set of rules with which every cluster starts. It never changes: a node that replays the log from its beginning must
/// start as the others did.
pub const FEATURE_LEVEL_FIRST: u32 = 1;
/// The newest set of rules that this program knows. A log entry raises a cluster to it, once all its nodes know it.
pub const FEATURE_LEVEL: u32 = FEATURE_LEVEL_FIRST + cfg!(feature = "next-level") as u32;
