//! The JSON shapes that clients and nodes exchange, shared by the HTTP layer, the Rust client and the command line.
//! There is no behaviour here beyond encoding and decoding.

mod admin_log;
mod batch;
mod cache;
mod changes;
mod cluster;
mod detach;
mod error;
mod headers;
mod joining;
mod kv;
mod lineage;
mod nodes;
mod range_digest;
mod reconcile;
mod samples;
mod sessions;
mod tokens;
mod watch;

pub use admin_log::{AdminActionInfo, AdminLogReport};
pub use batch::{
    BatchAnswer, BatchMode, BatchRequest, LogIndex, OpAnswer, OpRequest, OpResult, RefusedOp, WireValue,
};
pub use cache::{CacheReport, HotKey, NextVictim, ReadCounts, ShadowHits, TouchReport};
pub use changes::{Change, Changes, LogTime};
pub use cluster::{
    AddMember, ConfigBody, ConfigUpdate, Digests, FeatureLevel, Founding, FoundingMember, HistoryName,
    IndexedDigest, Joined, Leader, MemberStatus, Members, NodeInfo, NodeName, REPLACE_SILENT_MS_MIN, Status,
    TouchUpdate, TransferLeader, Warning, WarningCode,
};
pub use detach::{AttachProgress, DetachRequest, DetachStatus, Detachment};
pub use error::{Effect, ErrorCode, Problem};
pub use headers::{
    CONSISTENCY, ENTRY, EXPECT_HISTORY, HISTORY, IDEMPOTENCY_KEY, IDEMPOTENCY_REPLAYED,
    IDEMPOTENCY_SENT_AFTER, INDEX, ORIGIN, PREVIOUS_REVISION, TERM, TIME_MS, TTL_MS,
};
pub use joining::{
    Authorities, CreateJoinToken, JoinTokenInfo, JoinTokenText, SignCertificate, SignedCertificate,
};
pub use kv::{
    AbsentKey, Cleared, Consistency, Counter, Deadline, Entry, EntryDetails, EntryMeta, EntryPage,
    ExpireRequest, GetMany, GotKey, GotMany, IncrRequest, KeyEntry, KeyPage, ValueDetails,
};
pub use lineage::LineageReport;
pub use nodes::{NodeReport, NodeState, Nodes, ProtocolRange, RedisAddresses};
pub use range_digest::{RangeDigest, RangeDigests};
pub use reconcile::{
    ForkStatus, MergeChangeRequest, MergeEndRequest, MergeGuardRequest, MergeOpRequest, MergeStatus,
    MergeStepAnswer, MergeStepRequest, MergeTimesRequest, Reconciliations,
};
pub use samples::{Columns, Samples};
pub use sessions::{
    AcquireLock, AcquiredLock, LockInfo, LockList, OpenSession, SessionEnd, SessionInfo, SessionList,
};
pub use tokens::{
    BlockInfo, BlockList, BlockRequest, ChangedBlock, ChangedToken, CreateToken, MadeToken, RotateToken,
    TokenInfo, TokenList, TokenText,
};
pub use watch::{LiveAnswer, LiveMessage, LiveRequest, SessionEndCause, Subscribe, WatchMessage, WireEvent};
