//! Opens the two sides of a reconciliation.

use crate::client::Client;
use crate::node::{BASE_FILE, open_stored_log};
use crate::raft::StoredLogCopy;
use crate::storage::{IncomingSnapshot, SnapshotFile};
use anyhow::{Context, Result};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::timeout;

/// How long a backup may stand still on its way.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);

/// A side as it was opened.
pub struct Side {
    /// Where it was found.
    pub source: String,
    pub log: StoredLogCopy,
    /// How far its log time is ahead of the wall clock, in milliseconds; `None` for one that does not run.
    pub ahead_ms: Option<i64>,
    /// What may have the state at the fork, beside the log.
    base: Option<StoredLogCopy>,
    /// Where the backup of a running side is as long as it is needed.
    _backup: Option<TempDir>,
}

impl Side {
    /// A data folder on which no node runs, or a backup.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn of_file(path: &Path) -> Result<Self> {
        let (source, path) = (path.display().to_string(), path.to_owned());
        let opening = tokio::task::spawn_blocking(move || {
            Ok::<_, anyhow::Error>((open_stored_log(&path)?, kept_base(&path)?))
        });
        let (log, base) = opening.await??;
        Ok(Self { source, log, ahead_ms: None, base, _backup: None })
    }

    /// What running nodes have: a backup is taken from the one that answers, and kept in this folder as long as it is needed.
    ///
    /// # Errors
    /// Nobody answers, or it cannot be written there.
    pub async fn of_cluster(client: &Client, source: &str, within: &Path) -> Result<Self> {
        let ahead_ms = client.status().await?.log_time_ahead_ms;
        let folder = tempfile::tempdir_in(within).context("no room for a backup")?;
        let path = folder.path().join("backup");
        save_backup(client.backup().await?, &path).await?;
        let log = tokio::task::spawn_blocking(move || open_stored_log(&path)).await??;
        Ok(Self { source: source.to_owned(), log, ahead_ms, base: None, _backup: Some(folder) })
    }

    /// What a node in this process had when it took this snapshot. Blocks.
    ///
    /// # Errors
    /// It is damaged, or what the node keeps in its folder of the time when it left.
    pub fn of_node(file: SnapshotFile, name: &str, folder: &Path, ahead_ms: Option<i64>) -> Result<Self> {
        let log = StoredLogCopy::of_backup(file)?;
        Ok(Self { source: name.to_owned(), log, ahead_ms, base: kept_base(folder)?, _backup: None })
    }

    /// Takes the state at the fork from this folder or backup, if it has it.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn with_base(mut self, path: &Path) -> Result<Self> {
        let path = path.to_owned();
        self.base = Some(tokio::task::spawn_blocking(move || open_stored_log(&path)).await??);
        Ok(self)
    }

    /// Where the state at the fork may be found.
    pub(super) fn bases(&self) -> impl Iterator<Item = &StoredLogCopy> {
        self.base.iter().chain([&self.log])
    }
}

/// What a detached node keeps of the time when it left.
fn kept_base(folder: &Path) -> Result<Option<StoredLogCopy>> {
    let path = folder.join(BASE_FILE);
    if !path.is_file() {
        return Ok(None);
    }
    open_stored_log(&path).map(Some).with_context(|| {
        format!(
            "{}: without this file, nobody knows what both sides had, and nothing else is lost",
            path.display()
        )
    })
}

/// Writes what comes aside, and gives it its name once it is on disk and verified. Returns its size, and the index it holds.
///
/// # Errors
/// It broke off, is damaged, or cannot be written.
pub async fn save_backup(mut response: reqwest::Response, file: &Path) -> Result<(u64, u64)> {
    let unwritable = || format!("cannot save {}", file.display());
    let mut incoming = IncomingSnapshot::aside(file).with_context(unwritable)?;
    let stalled = || "the backup broke off: nothing came for a while";
    while let Some(chunk) = timeout(CHUNK_TIMEOUT, response.chunk())
        .await
        .with_context(stalled)?
        .context("the backup broke off")?
    {
        incoming.write(&chunk).with_context(unwritable)?;
    }
    let info = incoming.finish().and_then(|received| received.place(file)).with_context(unwritable)?;
    Ok((info.file_bytes, info.index))
}
