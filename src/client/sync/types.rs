//! What callers of a synchronizer meet: values, caches, conflicts, changes, its status and its errors.

use super::decide::ChangeKind;
use crate::api::WireValue;
use crate::cache::{Removal, RemovalCause};
use crate::client::ClientError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures::future::BoxFuture;
use std::sync::Arc;

/// What a cache or a function of the application failed with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A value and its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncValue {
    pub bytes: Bytes,
    pub content_type: Option<String>,
}

impl SyncValue {
    /// Text, as `text/plain`.
    pub fn text(text: impl Into<String>) -> Self {
        Self { bytes: text.into().into(), content_type: Some("text/plain".into()) }
    }

    /// The number that it is for a counter.
    pub(super) fn number(&self) -> Option<i64> {
        let text = std::str::from_utf8(&self.bytes).ok()?;
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        text.parse().ok().filter(|_| is_plain)
    }

    pub(super) fn of_number(number: i64, content_type: Option<String>) -> Self {
        Self { bytes: number.to_string().into(), content_type }
    }

    /// What a node sent; `None` if that is no base64.
    pub(super) fn of_wire(value: WireValue, content_type: Option<String>) -> Option<Self> {
        let bytes = match value {
            WireValue::Text { value } => value.into(),
            WireValue::Base64 { value_base64 } => BASE64.decode(value_base64).ok()?.into(),
        };
        Some(Self { bytes, content_type })
    }
}

/// A local cache. A missing key is no delete: a cache may have evicted it. A cache must not call the synchronizer from these
/// functions: it is called while that works on the key.
pub trait LocalCache: Send + Sync {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<SyncValue>, BoxError>>;
    fn set<'a>(&'a self, key: &'a str, value: SyncValue) -> BoxFuture<'a, Result<(), BoxError>>;
    /// Removes a key; without an error if there is none.
    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), BoxError>>;
    fn keys(&self) -> BoxFuture<'_, Result<Vec<String>, BoxError>>;
}

/// An update that came by another way than the cluster's own stream: a hint, which the next sync checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncEvent {
    pub key: String,
    /// `None`: the key was deleted.
    pub value: Option<SyncValue>,
    /// In milliseconds since 1970.
    pub timestamp: i64,
    /// Who says so.
    pub node: String,
    /// A revision, if `node` is a node of the cluster; else it only decides between equal timestamps.
    pub version: u64,
}

/// How a synchronizer is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncStatus {
    /// The stream of changes is there, and was heard within the last 15 seconds.
    pub connected: bool,
    /// When a sync last left nothing to do but what is stuck or deferred, in milliseconds since 1970; 0 if none did.
    pub last_sync_ms: i64,
    /// The nodes of the cluster that answer, and with `presence` the other synchronizers.
    pub peers: Vec<String>,
    /// Local changes that the cluster has not confirmed.
    pub pending: usize,
    /// Conflicts met since the synchronizer was made.
    pub conflicts: u64,
}

/// What [`SyncStatus`] leaves out.
#[derive(Debug, Clone, Default)]
pub struct SyncDetails {
    pub status: SyncStatus,
    /// Keys that used up their retries, or were refused, and why. They are tried again when something new is known of them.
    pub stuck: Vec<(String, String)>,
    /// Keys whose conflict was deferred, and why.
    pub unresolved: Vec<(String, String)>,
    /// Additions of which it is not known whether they were counted, the newest 10,000. They are not repeated.
    pub unknown: Vec<(String, i64)>,
    pub history: Option<String>,
    /// Up to which log index all changes of others are known.
    pub place: Option<u64>,
    /// Milliseconds since the stream was last heard; `None` if it is lost.
    pub staleness_ms: Option<u64>,
    /// Lines of the journal that were damaged and set aside.
    pub damaged: usize,
    /// Log time minus this machine's clock, and how far that may be wrong, in milliseconds; `None` if not known yet.
    pub clock: Option<(i64, i64)>,
    /// Why the last sync or the stream failed.
    pub last_error: Option<SyncError>,
}

/// How a conflict is decided by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    Local,
    Remote,
    /// Both sides get this value.
    Value(SyncValue),
    Delete,
    /// Later: when something new is known of the key, or at [`retry`](super::CacheSynchronizer::retry).
    Defer,
}

/// A key that both sides changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    pub key: String,
    /// The name of the group.
    pub group: String,
    /// The revision that both sides had last agreed upon, and `None` in it if they agreed that there was none; `None` if they never
    /// agreed.
    pub base: Option<Option<u64>>,
    pub local: LocalSide,
    pub remote: RemoteSide,
    /// The times are closer than they can be told apart.
    pub ambiguous: bool,
}

/// What was changed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalSide {
    pub kind: ChangeKind,
    /// `None` for a delete. Of an addition: what is added, in decimal.
    pub value: Option<SyncValue>,
    /// Log time, estimated; `None` if its age is not known.
    pub at_ms: Option<i64>,
}

/// What the cluster has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSide {
    /// `None` if there is no such key.
    pub value: Option<SyncValue>,
    pub revision: Option<u64>,
    /// Log time; of a key that is gone, when it went.
    pub modified_at_ms: Option<i64>,
    /// The name that the client gave itself which stored the value.
    pub origin: Option<String>,
    /// How the key went.
    pub gone: Option<Removal>,
}

/// Which side a conflict was decided for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Winner {
    Local,
    Remote,
    /// Both got what the application made of them.
    Merged,
    Deferred,
}

/// A conflict that is decided, told before the loser is dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecidedConflict {
    pub conflict: Conflict,
    pub winner: Winner,
    pub why: String,
}

/// Why a key changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeCause {
    Set,
    Delete,
    Expire,
    Evict,
    Clear,
}

impl From<RemovalCause> for ChangeCause {
    fn from(cause: RemovalCause) -> Self {
        match cause {
            RemovalCause::Delete => Self::Delete,
            RemovalCause::Clear => Self::Clear,
            RemovalCause::Expire => Self::Expire,
            RemovalCause::Evict => Self::Evict,
        }
    }
}

/// Who changed a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeOrigin {
    Local,
    Remote,
    /// The application, when it resolved a conflict.
    Merge,
}

/// A change of a key, of whatever origin. Per key in order, at least once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncChange {
    Key {
        key: String,
        cause: ChangeCause,
        origin: ChangeOrigin,
        /// `None` until the cluster has the change.
        revision: Option<u64>,
        value: Option<SyncValue>,
    },
    /// Others may have been missed.
    Resync,
}

/// Why a synchronizer refused or failed. Local changes that it has accepted are kept whatever the error.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SyncError {
    /// Nothing was done.
    #[error("the nodes belong to the cluster {theirs}, and the journal to {ours}")]
    OtherCluster { ours: String, theirs: String },
    /// Nothing was done.
    #[error("the nodes are in a history that the cluster has left")]
    OlderHistory,
    /// Nothing was done.
    #[error("the nodes' history does not come from the one known from before")]
    OtherHistory,
    /// Nothing was done.
    #[error("the node has left its cluster, and goes on alone")]
    Detached,
    /// The change was not accepted.
    #[error("{0} local changes wait already")]
    PendingFull(usize),
    /// The change was not accepted.
    #[error(
        "local changes of {0} are not sent: it is in no group, or in one that only takes those of others"
    )]
    NotSynchronized(String),
    /// The addition was not accepted.
    #[error("{0} is no number here, or the sum is none of 64 bits")]
    NotANumber(String),
    #[error("the synchronizer was closed")]
    Closed,
    #[error("it is connected as {0} already")]
    OtherName(String),
    /// What changed could not be read before the nodes forgot it, again and again; the next sync goes on.
    #[error("changes come faster than they can be read")]
    Behind,
    /// What was sent may have been carried out if [`ClientError::effect`] says so; it is sent again under the same idempotency key.
    #[error(transparent)]
    Cluster(Arc<ClientError>),
    #[error("a local cache failed: {0}")]
    Cache(Arc<BoxError>),
    /// A change whose line could not be written was not accepted. After a crash right then it may be sent all the same.
    #[error("the journal: {0}")]
    Storage(Arc<std::io::Error>),
    /// A callback panicked.
    #[error("the work ended before its time: {0}")]
    Broken(String),
}

impl From<ClientError> for SyncError {
    fn from(error: ClientError) -> Self {
        Self::Cluster(Arc::new(error))
    }
}

impl From<std::io::Error> for SyncError {
    fn from(error: std::io::Error) -> Self {
        Self::Storage(Arc::new(error))
    }
}

impl From<BoxError> for SyncError {
    fn from(error: BoxError) -> Self {
        Self::Cache(Arc::new(error))
    }
}
