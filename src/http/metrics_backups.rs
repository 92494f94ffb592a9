//! The part of `/metrics` about the backups that this node makes by itself. A node without that setting has none of it.

use crate::backups::Backups;
use std::fmt::{Result, Write};

/// Writes the figures. The newest backup can be of an earlier process.
pub(super) fn write_backups(out: &mut String, backups: &Backups) -> Result {
    let newest = backups.newest();
    let at = newest.map_or(0, |newest| newest.at.timestamp());
    let bytes = newest.map_or(0, |newest| newest.bytes);
    for (name, kind, help, value) in [
        (
            "lockstep_backup_last_success_timestamp_seconds",
            "gauge",
            "When the newest backup was begun, as seconds since 1970; 0 if there is none.",
            at.to_string(),
        ),
        ("lockstep_backup_bytes", "gauge", "Size of the newest backup in bytes.", bytes.to_string()),
        (
            "lockstep_backup_failures_total",
            "counter",
            "Backups that were due and could not be made.",
            backups.failures().to_string(),
        ),
        (
            "lockstep_backup_interval_seconds",
            "gauge",
            "Time from one backup to the next.",
            backups.every().as_secs().to_string(),
        ),
    ] {
        writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}")?;
    }
    Ok(())
}
