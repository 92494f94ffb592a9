//! The folder of a node that has left its cluster on purpose: it becomes the start of the node's own history.

use super::departure::Leaving;
use super::error::StartError;
use super::identity::Identity;
use super::restore::begin_history;
use crate::lineage::HistoryKind;
use crate::raft::{HistoryStart, StoredLogCopy};
use crate::replica::{Member, wall_ms};
use crate::storage::{FolderSwitch, LogStore, Snapshots};
use std::fs;
use std::io;
use std::path::Path;

/// Where the old content is until it is removed.
const ASIDE: &str = "left";
/// The state with which the node left, in its folder as long as it is away.
pub const BASE_FILE: &str = "base.snapshot";

/// The node that has left, and the index at which it did.
pub(super) fn has_left(identity: &Identity) -> Option<(Leaving, u64)> {
    let leaving = identity.leaving.clone()?;
    let index = leaving.left_at?;
    Some((leaving, index))
}

/// Exchanges the content of the folder of a node that has left. Whenever it breaks off, the folder is the old one or the new
/// one, and the next call goes on. The old content goes: all of it is in the new one, or was decided by the others. Blocks.
///
/// # Errors
/// [`StartError`].
pub(super) fn detach_folder(
    folder: &Path,
    identity: Identity,
    (leaving, index): (Leaving, u64),
    store: LogStore,
    snapshots: &Snapshots,
) -> Result<(), StartError> {
    let unreadable = |error: io::Error| StartError::Detach(error.to_string());
    let log = StoredLogCopy::of_folder(identity.lineage.clone(), store, snapshots.current());
    let log = log.map_err(unreadable)?;
    let Leaving { history, heard_of, from, .. } = leaving;
    // What it knows to be decided beyond that is common, too, and may be in its snapshot.
    let index = if from.forced { log.last_index } else { index.max(log.committed_index) };
    if log.last_index < index {
        return Err(StartError::Detach(format!(
            "this node has left its cluster at index {index}, and its log ends at {}: it has lost entries that were on its \
             disk. Remove the folder and join the cluster again",
            log.last_index
        )));
    }
    let start = HistoryStart::of_log(&log, index).map_err(unreadable)?;
    let reason = if from.forced { "detached by force" } else { "detached" };
    let heard_of = heard_of.max(log.last_index);
    let lineage = identity
        .lineage
        .fork(history, HistoryKind::Detached, index, heard_of, wall_ms(), reason)
        .map_err(|error| StartError::Detach(error.to_string()))?;
    let known = log.memberships.iter().rev().find_map(|at| at.membership.members.get(&identity.node_id));
    let http = known.map(|known| known.http.clone()).unwrap_or_default();
    let node = Member { name: identity.name, http, peer: identity.peer, store_uuid: String::new() };
    let switch = FolderSwitch::prepare(folder).map_err(unreadable)?;
    let next = switch.next();
    begin_history(start, lineage, &next, node, |identity| identity.detached = Some(from))?;
    // When its changes are brought in, a person may want to see what both had before, and counters need it.
    let begun = Snapshots::open(next.join("snapshots"))?.current();
    let begun = begun.ok_or_else(|| StartError::Detach("the history begins without a snapshot".into()))?;
    begun.keep_as(&next.join(BASE_FILE)).map_err(unreadable)?;
    let old = switch.aside(ASIDE);
    if old.exists() {
        fs::remove_dir_all(&old).map_err(unreadable)?;
    }
    switch.commit(ASIDE).map_err(unreadable)?;
    drop(log);
    FolderSwitch::finish(folder)?;
    if let Err(error) = fs::remove_dir_all(&old) {
        tracing::warn!(%error, "cannot remove {}", old.display());
    }
    Ok(())
}
