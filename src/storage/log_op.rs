//! The operations of a log store, which the writer carries out in the order of the calls.

use bytes::Bytes;

use super::StorageError;

/// Called once, on the writer thread, with the result of an operation. Must not block and must not close the store.
pub type Callback = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

/// One operation.
pub(super) enum LogOp {
    Append { entries: Vec<(u64, Bytes)>, done: Option<Callback> },
    Vote { bytes: Bytes, done: Callback },
    Committed { bytes: Bytes },
    Truncate { after: Option<u64>, done: Callback },
    Purge { index: u64, purged: Bytes, done: Callback },
    Identity { bytes: Bytes, done: Callback },
}

impl LogOp {
    /// The callback, without the rest.
    pub(super) fn into_done(self) -> Option<Callback> {
        match self {
            LogOp::Append { done, .. } => done,
            LogOp::Committed { .. } => None,
            LogOp::Vote { done, .. }
            | LogOp::Truncate { done, .. }
            | LogOp::Purge { done, .. }
            | LogOp::Identity { done, .. } => Some(done),
        }
    }
}
