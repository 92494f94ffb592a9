//! What a synchronizer needs of a cluster. The client has it; tests have a model.

use super::types::SyncValue;
use crate::api::{ErrorCode, OpRequest, WireEvent};
use crate::cache::Removal;
use crate::client::ClientError;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An answer that takes a while.
pub type Asked<'a, T> = BoxFuture<'a, Result<T, ClientError>>;

/// A place in the log. It means something in this history only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub index: u64,
    /// The id of the history.
    pub history: String,
}

/// Where a cluster comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterLineage {
    pub cluster_id: String,
    /// Oldest first; the last is the one that it is in.
    pub histories: Vec<ClusterHistory>,
}

/// One unbroken log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterHistory {
    pub id: String,
    /// The last index that it has in common with the history before.
    pub fork_index: u64,
    /// Whether it was begun by a node that left its cluster on purpose.
    pub detached: bool,
}

/// What the cluster has of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyState {
    Found(FoundKey),
    Absent {
        /// How the key went, if it was there and that is remembered.
        gone: Option<Removal>,
        /// The index of the answer.
        as_of: u64,
    },
}

/// A key that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundKey {
    pub revision: u64,
    pub version: u64,
    /// Log time.
    pub modified_at_ms: i64,
    /// The name that the client gave itself which stored it.
    pub origin: Option<String>,
    /// `None`: not told, and has to be read.
    pub value: Option<SyncValue>,
}

/// What the cluster has of keys that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysRead {
    /// In the order of the keys.
    pub states: Vec<KeyState>,
    /// The index and the history in which it was so.
    pub place: Place,
}

/// A page of keys, in byte order, with their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysPage {
    pub keys: Vec<(String, KeyState)>,
    /// Give it as `after` for the next page; `None` on the last one.
    pub next: Option<String>,
    pub place: Place,
}

/// What changed after a place, in order, each key once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangesPage {
    pub changes: Vec<KeyChange>,
    /// The index to go on from.
    pub next: u64,
    pub more: bool,
    /// False if changes after the place are no longer kept.
    pub complete: bool,
}

/// What became of a key, or of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyChange {
    Key(String, KeyState),
    /// All keys with this prefix and a lower revision were removed.
    Cleared(String, Removal),
}

/// What a batch of independent operations did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchDone {
    /// The revision of everything that it wrote.
    pub revision: u64,
    /// The history in which it was carried out.
    pub history: String,
    /// One for each operation.
    pub results: Vec<OpDone>,
}

/// What became of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpDone {
    Done {
        /// What a counter has now.
        number: Option<i64>,
    },
    /// It changed nothing. `state`: what the key has, without its value.
    Refused { code: ErrorCode, detail: String, state: KeyState },
}

/// A message of the stream of changes.
#[derive(Debug, Clone, PartialEq)]
pub enum FeedMessage {
    /// The stream has begun; what follows belongs to this history.
    Subscribed { history: String },
    /// All changes of one log entry, with values. `at_ms`: log time.
    Change { index: u64, at_ms: u64, origin: Option<String>, events: Vec<WireEvent> },
    /// There were no other changes up to this index.
    Bookmark { index: u64 },
    /// Changes are missing. `history`: because the cluster is in another one.
    Resync { history: bool },
}

/// A stream of changes.
pub trait SyncFeed: Send {
    /// The next message. After an error it can be called again, and goes on from its place, on another node if there is one.
    fn next(&mut self) -> Asked<'_, FeedMessage>;
}

/// A cluster, as a synchronizer asks it. Reads are linearizable. An error's [`ClientError::effect`] says whether a batch may have been
/// carried out.
pub trait SyncCluster: Send + Sync {
    fn lineage(&self) -> Asked<'_, ClusterLineage>;
    /// Log time, in milliseconds since 1970.
    fn time_ms(&self) -> Asked<'_, i64>;
    /// The names of the nodes, and whether each answers.
    fn nodes(&self) -> Asked<'_, Vec<(String, bool)>>;
    /// What the cluster has of these keys.
    fn read<'a>(&'a self, keys: &'a [String]) -> Asked<'a, KeysRead>;
    /// Keys with a prefix, after one.
    fn page<'a>(&'a self, prefix: &'a str, after: Option<&'a str>, limit: usize) -> Asked<'a, KeysPage>;
    /// What changed after a place, about so many changes.
    ///
    /// # Errors
    /// [`ErrorCode::OtherHistory`] if the cluster is in another history.
    fn changes<'a>(&'a self, since: &'a Place, prefix: &'a str, limit: usize) -> Asked<'a, ChangesPage>;
    /// Carries out operations, each by itself. Under one idempotency key they are carried out once, however often they are sent.
    /// `sent_after`: a place that was known before they were first sent.
    ///
    /// # Errors
    /// [`ErrorCode::OutcomeForgotten`] if it is not known any more whether they were carried out; they were not now.
    fn batch<'a>(
        &'a self,
        ops: &'a [OpRequest],
        idempotency_key: &'a str,
        sent_after: &'a Place,
    ) -> Asked<'a, BatchDone>;
    /// Changes of the keys that start with one of these, up to 16, or of all; after a place, or from now on.
    ///
    /// # Errors
    /// Of the feed: if the nodes belong to another cluster than this.
    fn watch(
        &self,
        prefixes: &[String],
        from: Option<Place>,
        cluster_id: Option<String>,
    ) -> Box<dyn SyncFeed>;
    /// Opens a session; its number.
    fn open_session<'a>(&'a self, name: &'a str, ttl: Duration) -> Asked<'a, u64>;
    /// False if it has ended.
    fn renew_session(&self, id: u64) -> Asked<'_, bool>;
    fn end_session(&self, id: u64) -> Asked<'_, ()>;
    /// The names of the sessions that start with a prefix.
    fn sessions<'a>(&'a self, prefix: &'a str) -> Asked<'a, Vec<String>>;
}
