//! A backup becomes the data folder of a new cluster of one. The history forks there, so the cluster gets a
//! new incarnation: nodes of the old one are not let in.

use super::StartError;
use super::identity::{Identity, Incarnation, Lineage, store_uuid};
use crate::raft::Backup;
use crate::replica::Member;
use crate::storage::{LogOptions, LogStore, SnapshotFile, Snapshots};
use std::path::Path;

/// Restores a backup into an empty folder, as a node of the given name and addresses; returns the index it
/// goes on from. Blocks.
///
/// # Errors
/// [`StartError`]; the folder is not usable then and may be removed.
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
    // Numbers of nodes are log indexes: the next one is not taken by any node before.
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
    // Written last: a folder without an identity is one that was not restored to the end.
    identity.save(&store)?;
    store.close();
    Ok(index)
}
