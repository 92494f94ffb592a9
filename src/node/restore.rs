//! Restores a backup as the data folder of a new cluster of one. The cluster goes on in a new history from there,
//! and nodes of earlier ones are refused.

use super::StartError;
use super::identity::{Identity, store_uuid};
use crate::lineage::HistoryKind;
use crate::raft::HistoryStart;
use crate::replica::{Member, wall_ms};
use crate::storage::{LogOptions, LogStore, SnapshotFile, Snapshots};
use std::path::Path;

/// Restores a backup into an empty data folder, as a node with the given name and addresses. Returns the index from
/// which it continues. Blocks.
///
/// # Errors
/// [`StartError`]; the data folder cannot be used then, and can be deleted.
pub fn restore_backup(
    file: &Path,
    data_dir: &Path,
    name: &str,
    http: &str,
    peer: &str,
) -> Result<u64, StartError> {
    let unusable = |error: std::io::Error| StartError::Backup(error.to_string());
    let backup = HistoryStart::of_backup(SnapshotFile::open_backup(file)?).map_err(unusable)?;
    let store = LogStore::open(data_dir, LogOptions::default())?;
    let snapshots = Snapshots::open(data_dir.join("snapshots"))?;
    let (index, id) = (backup.index(), uuid::Uuid::new_v4().to_string());
    let reason = format!("restored from {}", file.file_name().unwrap_or_default().display());
    let lineage = backup
        .lineage()
        .fork(id, HistoryKind::Restored, index, index, wall_ms(), &reason)
        .map_err(|error| StartError::Backup(error.to_string()))?;
    let start_index = lineage.current().start_index;
    // Node numbers are log indexes, so no earlier node has the next one.
    let node_id = start_index + 1;
    let identity = Identity {
        lineage,
        node_id,
        name: name.to_owned(),
        peer: peer.to_owned(),
        founding: None,
        voters_awaited: 0,
        wants_vote: None,
        superseded_by: None,
    };
    let member = Member {
        name: name.to_owned(),
        http: http.to_owned(),
        peer: peer.to_owned(),
        store_uuid: store_uuid(&store),
    };
    backup.install(&store, &snapshots, identity.lineage.clone(), node_id, member).map_err(unusable)?;
    // Written last: without an identity the folder counts as not completely restored.
    identity.save(&store)?;
    store.close();
    Ok(start_index)
}
