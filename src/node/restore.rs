//! Restores a backup as the data folder of a new cluster of one. The history forks there, so the cluster gets a new
//! incarnation, and nodes of the old one are refused.

use super::StartError;
use super::identity::{Identity, Incarnation, Lineage, store_uuid};
use crate::raft::Backup;
use crate::replica::Member;
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
    let backup = Backup::open(SnapshotFile::open_backup(file)?).map_err(unusable)?;
    let lineage: Lineage =
        serde_json::from_slice(backup.lineage()).map_err(|error| StartError::Backup(error.to_string()))?;
    let store = LogStore::open(data_dir, LogOptions::default())?;
    let snapshots = Snapshots::open(data_dir.join("snapshots"))?;
    let index = backup.index();
    let mut incarnations = lineage.incarnations;
    let number = incarnations.last().map_or(0, |last| last.number) + 1;
    let id = uuid::Uuid::new_v4().to_string();
    incarnations.push(Incarnation { number, fork_index: index, id });
    // Node numbers are log indexes, so no earlier node has the next one.
    let node_id = index + 1;
    let identity = Identity {
        cluster_id: lineage.cluster_id,
        incarnations,
        node_id,
        name: name.to_owned(),
        peer: peer.to_owned(),
        founding: None,
    };
    let member = Member {
        name: name.to_owned(),
        http: http.to_owned(),
        peer: peer.to_owned(),
        store_uuid: store_uuid(&store),
    };
    backup.rebase(&store, &snapshots, identity.lineage(), node_id, member).map_err(unusable)?;
    // Written last: without an identity the folder counts as not completely restored.
    identity.save(&store)?;
    store.close();
    Ok(index)
}
