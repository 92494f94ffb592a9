//! Restores a backup as the data folder of a new cluster of one. The cluster goes on in a new history from there,
//! and nodes of earlier ones are refused.

use super::StartError;
use super::identity::{Identity, store_uuid};
use super::root_token::{ROOT_TOKEN_FILE, request_root_token};
use crate::lineage::{HistoryKind, Lineage};
use crate::raft::HistoryStart;
use crate::replica::{Member, wall_ms};
use crate::storage::{LogOptions, LogStore, SnapshotFile, Snapshots};
use std::path::{Path, PathBuf};

/// A backup that was restored.
#[derive(Debug)]
pub struct Restored {
    /// The index from which it continues.
    pub start_index: u64,
    /// Where the token is that may do everything, if the backup's tokens were dropped.
    pub root_token: Option<PathBuf>,
}

/// Restores a backup into an empty data folder, as a node with the given name and addresses. Its tokens are dropped, unless
/// `keep_tokens`: some may have been revoked since. Blocks.
///
/// # Errors
/// [`StartError`]; the data folder cannot be used then, and can be deleted.
pub fn restore_backup(
    file: &Path,
    data_dir: &Path,
    name: &str,
    http: &str,
    peer: &str,
    keep_tokens: bool,
) -> Result<Restored, StartError> {
    let unusable = |error: std::io::Error| StartError::Backup(error.to_string());
    let mut start = HistoryStart::of_backup(SnapshotFile::open_backup(file)?).map_err(unusable)?;
    let needs_token = !keep_tokens && start.drop_tokens();
    let (index, id) = (start.index(), uuid::Uuid::new_v4().to_string());
    let reason = format!("restored from {}", file.file_name().unwrap_or_default().display());
    let lineage = start
        .lineage()
        .fork(id, HistoryKind::Restored, index, start.heard_of(), wall_ms(), &reason)
        .map_err(|error| StartError::Backup(error.to_string()))?;
    let start_index = lineage.current().start_index;
    let (name, http, peer) = (name.to_owned(), http.to_owned(), peer.to_owned());
    let node = Member { name, http, peer, store_uuid: String::new() };
    begin_history(start, lineage, data_dir, node, |_| {})?;
    let root_token = needs_token.then(|| data_dir.join(ROOT_TOKEN_FILE));
    if let Some(path) = &root_token {
        request_root_token(data_dir, path).map_err(StartError::Folder)?;
    }
    Ok(Restored { start_index, root_token })
}

/// Makes an empty folder that of the only member of a new history, the last one of the lineage. The node's `store_uuid` is the
/// folder's own, and `add` says what else its identity has. Durable when this returns. Blocks.
///
/// # Errors
/// [`StartError`]; the folder cannot be used then, and can be deleted.
pub(super) fn begin_history(
    start: HistoryStart,
    lineage: Lineage,
    folder: &Path,
    node: Member,
    add: impl FnOnce(&mut Identity),
) -> Result<(), StartError> {
    let store = LogStore::open(folder, LogOptions::default())?;
    let snapshots = Snapshots::open(folder.join("snapshots"))?;
    // Node numbers are log indexes, so no earlier node has the next one.
    let node_id = lineage.current().start_index + 1;
    let member = Member { store_uuid: store_uuid(&store), ..node };
    let mut identity = Identity {
        lineage: lineage.clone(),
        node_id,
        name: member.name.clone(),
        peer: member.peer.clone(),
        founding: None,
        voters_awaited: 0,
        wants_vote: None,
        superseded_by: None,
        leaving: None,
        comes_from: None,
        detached: None,
    };
    add(&mut identity);
    start.install(&store, &snapshots, lineage, node_id, member).map_err(StartError::Folder)?;
    // Written last: without an identity the folder counts as not completely written.
    identity.save(&store)?;
    store.close();
    Ok(())
}
