//! The seam to the database: everything that the log store needs of it.
//!
//! Another database fits behind [`Engine`] if it can apply a batch atomically, tell when it is durable, and return
//! everything that it holds. Tests put a failing engine here.

use std::io;

/// One change in an atomic batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mutation {
    /// Store `value` under `key`, replacing what was there.
    Put {
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// Remove `key`.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
}

/// Bytes of memory that an engine takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineMemory {
    /// Where records are, and batches that are not flushed.
    pub index: u64,
    /// What the database keeps of its file.
    pub database: u64,
}

/// An ordered store of bytes. Only one thread writes; any thread may read.
pub trait Engine: Send + Sync {
    /// Applies all mutations or none. They are visible to `get` when this returns, and durable after the next `flush`.
    /// After an error the caller never writes again.
    fn apply(&self, batch: Vec<Mutation>) -> io::Result<()>;

    /// Returns when everything applied so far survives a power cut. After an error the caller never writes again.
    fn flush(&self) -> io::Result<()>;

    /// The value under `key`.
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>>;

    /// Visits every pair in ascending key order.
    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()>;

    /// The memory that the engine takes.
    fn memory(&self) -> EngineMemory {
        EngineMemory::default()
    }

    /// Bytes that the log's records take in files beside the database, with everything that lies among them.
    fn journal_bytes(&self) -> u64 {
        0
    }
}
