//! An empty data folder with the instruction to join a cluster: what a survivor's folder becomes when the cluster is recovered
//! from another one. So the node is started with the same command line as before.

use super::StartError;
use crate::storage::write_durably;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const FILE: &str = "join.json";

/// How the node of an empty folder gets its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rejoin {
    /// The id of the history that it joins.
    pub history: String,
    /// The URL of a member.
    pub url: String,
    /// The node's name and peer address in the cluster that it was a member of.
    pub name: String,
    pub peer: String,
    /// Whether it gets a vote.
    pub voter: bool,
    /// How many voters there must be before it takes writes as a leader.
    pub voters_awaited: usize,
    /// The history that it comes from, if it had left its cluster on purpose: its changes have come in, so the fork can be closed.
    #[serde(default)]
    pub comes_from: Option<String>,
}

impl Rejoin {
    fn path(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    /// The instruction in a folder, if it has one.
    ///
    /// # Errors
    /// [`StartError::Rejoin`].
    pub fn load(folder: &Path) -> Result<Option<Self>, StartError> {
        let unreadable = |reason: String| StartError::Rejoin(reason);
        match fs::read(Self::path(folder)) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map(Some).map_err(|error| unreadable(error.to_string()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(error.to_string())),
        }
    }

    /// Writes it; durable when this returns.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn save(&self, folder: &Path) -> io::Result<()> {
        write_durably(&Self::path(folder), &serde_json::to_vec(self)?)
    }

    /// Removes the instruction of a node that has joined. One that stays is ignored.
    pub fn remove(folder: &Path) {
        if let Err(error) = fs::remove_file(Self::path(folder))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "cannot remove {FILE}");
        }
    }
}
