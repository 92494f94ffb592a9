//! What can go wrong: refusing to open a folder, and failing while it is open.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

/// How a node whose data is refused gets back into its cluster.
pub(super) const REJOIN: &str = "remove this data folder and join the cluster again under a new node id";

/// Why a folder was not opened. Nothing was served from it.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process (or another handle in this one) has the folder open.
    #[error("the data folder {} is already in use by another process", folder.display())]
    InUse {
        /// The folder that is locked.
        folder: PathBuf,
    },
    /// The bytes on disk are not the bytes that were acknowledged. Opening again is refused again.
    #[error("{} is damaged: {what}; {REJOIN}", file.display())]
    Damaged {
        /// The file (or the database folder) in which the damage was found.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A backup is not what was saved.
    #[error("the backup {} is damaged or no backup: {what}; use another one", file.display())]
    Backup {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file is missing, although others show that it was written.
    #[error("{} is missing, although {because}; {REJOIN}", file.display())]
    Missing {
        /// The file that should exist.
        file: PathBuf,
        /// How we know that it once did.
        because: String,
    },
    /// The folder was written by another version of this program.
    #[error("{} has storage format {found}, this program reads format {supported}", file.display())]
    Format {
        /// The file with the foreign format.
        file: PathBuf,
        /// The format found.
        found: u32,
        /// The format this program reads and writes.
        supported: u32,
    },
    /// The operating system refused; the data may be fine and a later attempt may succeed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> OpenError {
        let path = path.into();
        move |source| OpenError::Io { action, path, source }
    }

    pub(super) fn damaged(file: impl Into<PathBuf>, what: impl Into<String>) -> OpenError {
        OpenError::Damaged { file: file.into(), what: what.into() }
    }
}

/// Why a call on an open store failed. Cheap to clone, because one failure is the result of many calls.
#[derive(Debug, Clone, Error)]
pub enum StorageError {
    /// The operation itself failed. For writes and flushes of the log this also poisons the store.
    #[error("cannot {action}: {message}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The kind of the system's answer.
        kind: io::ErrorKind,
        /// The system's answer in words.
        message: Arc<str>,
    },
    /// An earlier write or flush failed; what is on disk is unknown until the folder is opened again.
    #[error("the store stopped after its first failure: {cause}")]
    Poisoned {
        /// The first failure in words.
        cause: Arc<str>,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// Entries must follow each other without a hole. Nothing was changed.
    #[error("an append must continue at index {expected}, not at {got}")]
    NotContiguous {
        /// The index that would continue the log.
        expected: u64,
        /// The index that was given.
        got: u64,
    },
    /// The log does not hold this entry: purged, truncated, or never written.
    #[error("the log does not hold entry {index}")]
    Missing {
        /// The first entry that is not there.
        index: u64,
    },
    /// Stored bytes do not match their checksum.
    #[error("{what} is damaged")]
    Damaged {
        /// What was read.
        what: Arc<str>,
    },
    /// A newer snapshot is already in place; the older one was dropped.
    #[error("snapshot {index} is older than the current snapshot {current}")]
    Superseded {
        /// The index of the snapshot that was dropped.
        index: u64,
        /// The index of the snapshot that stays.
        current: u64,
    },
}

impl StorageError {
    pub(super) fn io(action: &'static str) -> impl FnOnce(io::Error) -> StorageError {
        move |error| StorageError::Io { action, kind: error.kind(), message: error.to_string().into() }
    }

    pub(super) fn damaged(what: impl Into<Arc<str>>) -> StorageError {
        StorageError::Damaged { what: what.into() }
    }

    /// The answer to every call after `self` happened.
    pub(super) fn poison(&self) -> StorageError {
        match self {
            StorageError::Poisoned { .. } => self.clone(),
            first => StorageError::Poisoned { cause: first.to_string().into() },
        }
    }
}
