//! The seam to the database: all that the log store asks of it.
//!
//! Another database fits behind [`Engine`] if it can apply a batch atomically, say when it is durable, and give
//! everything back. Tests put a failing engine here.

use std::io;

/// One change inside an atomic batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Store `value` under `key`, replacing what was there.
    Put {
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// Forget `key`.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
}

/// An ordered store of bytes. Only one thread writes; any thread may read.
pub trait Engine: Send + Sync {
    /// Applies all changes or none. They are visible to `get` when this returns, and durable after the next `flush`.
    /// After an error the caller never writes again.
    fn apply(&self, changes: Vec<Change>) -> io::Result<()>;

    /// Returns when everything applied so far survives a power cut. After an error the caller never writes again.
    fn flush(&self) -> io::Result<()>;

    /// The value under `key`.
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>>;

    /// Visits every pair in ascending key order.
    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()>;
}
