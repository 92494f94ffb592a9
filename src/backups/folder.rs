//! The folder of backups: writing another, and removing the oldest.

use super::{Backup, FolderLock, Name, OpenError};
use crate::storage::{IncomingSnapshot, SnapshotFile, name_aside};
use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Bytes that are copied at a time.
const CHUNK_BYTES: usize = 1024 * 1024;

/// A folder that one process has for its backups.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: FolderLock,
}

/// Whether the folder is there and can be written. It is never created: a mount that is missing must not have the backups go
/// to the disk below it.
pub(super) fn check(path: &Path) -> Result<(), OpenError> {
    let refused = |source| OpenError::Io { action: "write backups to", path: path.to_owned(), source };
    if !fs::metadata(path).map_err(refused)?.is_dir() {
        return Err(refused(io::ErrorKind::NotADirectory.into()));
    }
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|error| refused(error.into()))?;
    // SAFETY: the name is a string that ends with a zero.
    match unsafe { libc::access(name.as_ptr(), libc::W_OK | libc::X_OK) } {
        0 => Ok(()),
        _ => Err(refused(io::Error::last_os_error())),
    }
}

impl Folder {
    /// Takes the folder, and removes what was not finished there.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        check(path)?;
        let folder = Self { path: path.to_owned(), _lock: FolderLock::take(path)? };
        for name in folder.files() {
            // Only what a process before this one was writing: nobody else has the folder.
            let finished = name.to_str().and_then(|name| name.strip_suffix(".part")).and_then(Name::parse);
            if let Some(finished) = finished {
                let part = name_aside(&folder.path_of(finished));
                fs::remove_file(&part).map_err(|source| OpenError::Io {
                    action: "remove",
                    path: part,
                    source,
                })?;
            }
        }
        Ok(folder)
    }

    /// The newest backup in it.
    pub fn newest(&self) -> Option<Backup> {
        let Name { at, index } = self.backups().pop()?;
        let bytes = fs::metadata(self.path_of(Name { at, index })).ok()?.len();
        Some(Backup { at, index, bytes })
    }

    /// Copies a snapshot, and gives the copy its name once it is on disk and verified. Stops when nobody wants it any more.
    /// Blocks.
    ///
    /// # Errors
    /// It cannot be written; nothing is left of it then.
    pub fn save(
        &self,
        snapshot: &SnapshotFile,
        at: DateTime<Utc>,
        is_wanted: impl Fn() -> bool,
    ) -> Result<Backup> {
        let name = Name::new(at, snapshot.index);
        let path = self.path_of(name);
        let save = || {
            let mut copy = IncomingSnapshot::aside(&path)?;
            let mut offset = 0;
            while offset < snapshot.bytes {
                ensure!(is_wanted(), "the node is stopping");
                let chunk = snapshot.raw_chunk(offset, CHUNK_BYTES)?;
                copy.write(&chunk)?;
                offset += chunk.len() as u64;
            }
            Ok(copy.finish()?.place(&path)?)
        };
        let info = save().with_context(|| format!("cannot save {}", path.display()))?;
        Ok(Backup { at: name.at, index: info.index, bytes: info.file_bytes })
    }

    /// Removes the oldest until so many are left; never the one that was just made, whatever the clock said for the others.
    /// Blocks.
    pub fn remove_oldest(&self, keep: usize, made: Backup) {
        let made = Name { at: made.at, index: made.index };
        let mut others = self.backups();
        others.retain(|name| *name != made);
        let more = (others.len() + 1).saturating_sub(keep);
        for name in others.into_iter().take(more) {
            if let Err(error) = fs::remove_file(self.path_of(name)) {
                tracing::warn!(file = %name, %error, "an old backup cannot be removed");
            }
        }
    }

    /// All backups, the oldest first.
    fn backups(&self) -> Vec<Name> {
        let mut names: Vec<Name> =
            self.files().iter().filter_map(|name| Name::parse(name.to_str()?)).collect();
        names.sort_unstable();
        names
    }

    /// The names of the files in it. A folder that is gone has none; the next backup says so.
    fn files(&self) -> Vec<std::ffi::OsString> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
        files.map(|entry| entry.file_name()).collect()
    }

    fn path_of(&self, name: Name) -> PathBuf {
        self.path.join(name.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Snapshots, verify_file};
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    fn snapshot(folder: &Path, index: u64) -> SnapshotFile {
        let snapshots = Snapshots::open(folder.join("snapshots")).expect("a folder");
        snapshots.write(index, b"meta", |out| out.write_all(&vec![7; 3 << 20])).expect("written")
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("a time")
    }

    fn place() -> (TempDir, Folder) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("backups");
        fs::create_dir(&path).expect("created");
        (dir, Folder::open(&path).expect("a folder"))
    }

    fn listed(folder: &Folder) -> Vec<String> {
        let mut names: Vec<String> =
            folder.files().iter().map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_backup_is_a_whole_snapshot_that_only_its_owner_reads() {
        let (dir, folder) = place();
        let backup = folder.save(&snapshot(dir.path(), 9), at(60), || true).expect("saved");
        assert_eq!((backup.index, folder.newest()), (9, Some(backup)));
        let path = folder.path.join("lockstep-19700101T000100Z-9.snapshot");
        assert_eq!(verify_file(&path).expect("whole").file_bytes, backup.bytes);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_fails_or_is_not_wanted_any_more_leaves_nothing() {
        let (dir, folder) = place();
        let file = snapshot(dir.path(), 9);
        folder.save(&file, at(60), || false).expect_err("nobody wants it");
        assert_eq!(listed(&folder), ["lock"]);
        // Damage between the snapshot and the backup is found before the backup has its name.
        let mut bytes = fs::read(&file.path).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&file.path, bytes).expect("written");
        let error = folder.save(&file, at(60), || true).expect_err("it is damaged");
        assert!(format!("{error:#}").contains("damaged"), "{error:#}");
        assert_eq!(listed(&folder), ["lock"]);
        fs::rename(&folder.path, dir.path().join("moved")).expect("moved");
        let error = folder.save(&file, at(60), || true).expect_err("the folder is gone");
        assert!(format!("{error:#}").contains("lockstep-19700101T000100Z-9.snapshot"), "{error:#}");
    }

    #[test]
    fn the_oldest_of_ours_are_removed_and_nothing_else() {
        let (_dir, folder) = place();
        let touch = |name: &str| fs::write(folder.path.join(name), "x").expect("written");
        let name = |seconds| Name::new(at(seconds), 5).to_string();
        let others = ["lockstep-3.snapshot", "monday.snapshot", "lockstep-19700101T000001Z-5.snapshot.txt"];
        others.into_iter().for_each(touch);
        (1..=4).for_each(|seconds| touch(&name(seconds)));
        folder.remove_oldest(2, Backup { at: at(4), index: 5, bytes: 1 });
        let mut left: Vec<String> = others.map(str::to_owned).into();
        left.extend([name(3), name(4), "lock".into()]);
        left.sort();
        assert_eq!(listed(&folder), left);
        // The clock was in the future for a while.
        touch(&name(1));
        folder.remove_oldest(2, Backup { at: at(1), index: 5, bytes: 1 });
        assert!(folder.path.join(name(1)).exists() && !folder.path.join(name(3)).exists());
    }

    #[test]
    fn what_an_earlier_process_left_is_removed_and_two_do_not_share_a_folder() {
        let (dir, folder) = place();
        let refused = Folder::open(&folder.path).expect_err("it is taken");
        assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
        let part = folder.path.join("lockstep-19700101T000100Z-9.snapshot.part");
        let other = folder.path.join("film.part");
        for path in [&part, &other] {
            fs::write(path, "half").expect("written");
        }
        let path = folder.path.clone();
        drop(folder);
        Folder::open(&path).expect("it is free again");
        assert!(!part.exists() && other.exists());
        let missing = Folder::open(&dir.path().join("nowhere")).expect_err("it is missing");
        assert!(missing.to_string().contains("cannot write backups to"), "{missing}");
        Folder::open(&other).expect_err("it is a file");
    }
}
