//! `lockstep snapshot`: backups, taken from a running cluster and made into a new one.

use super::commands::{SnapshotArgs, SnapshotCommand};
use super::exit::Usage;
use super::kv::connect;
use crate::merging::save_backup;
use crate::node::{Restored, restore_backup};
use crate::storage::verify_file;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::fs;
use std::path::Path;

/// Runs the command.
pub async fn snapshot(args: SnapshotArgs) -> Result<()> {
    let (client, output) = connect(&args.target)?;
    match args.command {
        SnapshotCommand::Take => {
            let taken = client.take_snapshot().await?;
            output.print(&taken, || format!("snapshot at index {}, {} bytes", taken["index"], taken["bytes"]))
        }
        SnapshotCommand::Save { file, force } => {
            if !force && file.try_exists()? {
                return Err(Usage(format!("{} is there already; --force replaces it", file.display())).into());
            }
            let (bytes, index) = save_backup(client.backup().await?, &file).await?;
            output.print(&json!({"file": file, "bytes": bytes, "index": index}), || {
                format!("{}: {bytes} bytes, index {index}", file.display())
            })
        }
        SnapshotCommand::Verify { file } => {
            let info = verify_file(&file)?;
            output.print(&json!({"file": file, "index": info.index}), || {
                format!("{} is a complete snapshot, index {}", file.display(), info.index)
            })
        }
        SnapshotCommand::Restore { file, data_dir, name, http, peer, keep_tokens } => {
            let restored = restore_file(&file, &data_dir, &name, &http, &peer, keep_tokens)?;
            let Restored { start_index: index, root_token } = restored;
            output.print(&json!({"data_dir": data_dir, "index": index, "root_token": root_token}), || {
                let tokens = root_token.as_ref().map_or_else(String::new, |file| {
                    format!("\nThe tokens of the backup are dropped; {} may do everything", file.display())
                });
                format!(
                    "{} holds a new cluster of one, from index {index}; start it with\n  lockstep serve --data-dir {} \
                     --http {} --peer {peer}\nand add nodes with --join {http}{tokens}",
                    data_dir.display(),
                    data_dir.display(),
                    http.split_once("://").map_or(http.as_str(), |(_, address)| address),
                )
            })
        }
    }
}

/// Makes a data folder out of a backup.
pub(super) fn restore_file(
    file: &Path,
    data_dir: &Path,
    name: &str,
    http: &str,
    peer: &str,
    keep_tokens: bool,
) -> Result<Restored> {
    let used = fs::read_dir(data_dir).is_ok_and(|mut entries| entries.next().is_some());
    if used {
        bail!("{} is not empty; a backup is restored into a new folder", data_dir.display());
    }
    restore_backup(file, data_dir, name, http, peer, keep_tokens)
        .with_context(|| format!("cannot restore {}", file.display()))
}
