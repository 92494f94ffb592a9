//! What the data folder of a node that does not run, and a backup, say about themselves.

use super::StartError;
use super::identity::Identity;
use crate::api::{LineageReport, NodeName};
use crate::raft::{StoredLogCopy, snapshot_terms};
use crate::storage::{LogOptions, LogStore, SnapshotFile, Snapshots};
use std::io;
use std::path::Path;

/// Where the log in a data folder comes from. The node must not run. Entries of the log that may not be committed are
/// counted as part of it; what a snapshot has is known to be applied. Blocks.
///
/// # Errors
/// [`StartError`]: it is no data folder, a node runs on it, or it is damaged.
pub fn lineage_of_folder(folder: &Path) -> Result<LineageReport, StartError> {
    let (identity, log) = open_folder(folder)?;
    Ok(LineageReport {
        node: Some(NodeName { id: identity.node_id, name: identity.name }),
        applied_index: log.snapshot_index(),
        last_log_index: log.last_index,
        term_starts: log.terms.iter().collect(),
        lineage: log.lineage.clone(),
    })
}

/// Where the state in a backup comes from. Blocks.
///
/// # Errors
/// [`StartError`]: it is no backup, or damaged.
pub fn lineage_of_backup(file: &Path) -> Result<LineageReport, StartError> {
    let unreadable = |error: io::Error| StartError::Backup(error.to_string());
    let file = SnapshotFile::open_backup(file)?;
    let (lineage, terms) = snapshot_terms(&file).map_err(unreadable)?;
    Ok(LineageReport {
        node: None,
        lineage,
        applied_index: file.index,
        last_log_index: file.index,
        term_starts: terms.iter().collect(),
    })
}

/// The log of a data folder on which no node runs, or that of a backup. Blocks.
///
/// # Errors
/// [`StartError`]: it is neither, a node runs on it, or it is damaged.
pub fn open_stored_log(path: &Path) -> Result<StoredLogCopy, StartError> {
    if path.is_dir() {
        return open_folder(path).map(|(_, log)| log);
    }
    let unreadable = |error: io::Error| StartError::Backup(error.to_string());
    StoredLogCopy::of_backup(SnapshotFile::open_backup(path)?).map_err(unreadable)
}

pub(super) fn open_folder(folder: &Path) -> Result<(Identity, StoredLogCopy), StartError> {
    // Opening a log would create one.
    if !folder.join("sled").is_dir() && !folder.join("switch").exists() {
        return Err(StartError::Identity(format!("{} is no data folder of a node", folder.display())));
    }
    let unreadable = |error: io::Error| StartError::Identity(error.to_string());
    let store = LogStore::open(folder, LogOptions::default())?;
    let snapshots = Snapshots::open(folder.join("snapshots"))?;
    let identity = Identity::load(&store)?;
    let nobody = || StartError::Identity(format!("{} has never been a member's", folder.display()));
    let identity = identity.ok_or_else(nobody)?;
    let log =
        StoredLogCopy::of_folder(identity.lineage.clone(), store, snapshots.current()).map_err(unreadable)?;
    Ok((identity, log))
}
