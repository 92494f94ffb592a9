//! Opens the two sides of a reconciliation.

use super::super::common_args::Target;
use super::super::exit::Usage;
use super::super::snapshot::save;
use crate::client::Client;
use crate::node::open_stored_log;
use crate::raft::StoredLogCopy;
use anyhow::{Context, Result};
use std::path::PathBuf;
use tempfile::TempDir;

/// A side as it was opened.
pub struct Side {
    pub source: String,
    pub log: StoredLogCopy,
    /// How far its log time is ahead of the wall clock, in milliseconds; `None` for one that does not run.
    pub ahead_ms: Option<i64>,
    /// Where the backup of a running side is as long as it is needed.
    _backup: Option<TempDir>,
}

/// Opens a folder or a backup, or takes a backup from the nodes at URLs.
///
/// # Errors
/// It cannot be read, or nobody answers.
pub async fn open(source: &str, target: &Target) -> Result<Side> {
    let is_url = source.starts_with("http://") || source.starts_with("https://");
    let (path, ahead_ms, backup) = if is_url {
        let urls: Vec<String> = source.split(',').map(str::to_owned).collect();
        let client = Client::new(&urls, target.timeout()).map_err(Usage)?;
        let ahead_ms = client.status().await?.log_time_ahead_ms;
        let folder = tempfile::tempdir().context("no room for a backup")?;
        let path = folder.path().join("backup");
        save(client.backup().await?, &path).await?;
        (path, ahead_ms, Some(folder))
    } else {
        (PathBuf::from(source), None, None)
    };
    let log = tokio::task::spawn_blocking(move || open_stored_log(&path)).await??;
    Ok(Side { source: source.to_owned(), log, ahead_ms, _backup: backup })
}
