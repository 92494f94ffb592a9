//! The backups that `lockstep serve` makes by itself: its settings.

use super::common_args::parse_interval;
use super::exit::Usage;
use crate::backups::Backups;
use crate::node::Node;
use clap::Args;
use std::convert::Infallible;
use std::future::pending;
use std::path::PathBuf;
use std::time::Duration;

/// Where backups go, and how many.
#[derive(Debug, Clone, Args)]
pub struct ServeBackupArgs {
    /// Save backups into this folder, which must be there and have no other purpose. They hold keys, values and the hashes of
    /// tokens; only their owner can read them
    #[arg(long, env = "LOCKSTEP_BACKUP_DIR", value_name = "DIR")]
    pub backup_dir: Option<PathBuf>,
    /// Time from one backup to the next, as a number with s, m, h or d
    #[arg(long, env = "LOCKSTEP_BACKUP_EVERY", value_name = "TIME", default_value = "6h", value_parser = parse_interval)]
    pub backup_every: Duration,
    /// How many backups are kept; older ones are removed
    #[arg(long, env = "LOCKSTEP_BACKUP_KEEP", value_name = "NUMBER", default_value_t = 28,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub backup_keep: u16,
}

impl ServeBackupArgs {
    /// Whether the folder can be used. Changes nothing.
    pub(super) fn check(&self) -> Result<(), Usage> {
        let checked = self.backup_dir.as_deref().map_or(Ok(()), Backups::check);
        checked.map_err(|error| Usage(format!("--backup-dir: {error}")))
    }

    /// Takes the folder.
    pub(super) fn open(&self) -> Result<Option<Backups>, Usage> {
        let open = |dir: &PathBuf| Backups::open(dir, self.backup_every, self.backup_keep.into());
        let opened = self.backup_dir.as_ref().map(open).transpose();
        opened.map_err(|error| Usage(format!("--backup-dir: {error}")))
    }
}

/// Has the node make backups, if it has a folder for them, as long as this is polled.
pub(super) async fn make_backups(backups: Option<&Backups>, node: &Node) -> Infallible {
    match backups {
        Some(backups) => backups.keep_making(node).await,
        None => pending().await,
    }
}
