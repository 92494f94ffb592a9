//! Exchanging what a data folder holds, all at once.
//!
//! The new content is prepared in `next/`. A file `switch` then says what is old: writing it is the commit point. Whoever opens
//! the folder after that first moves the old content to `aside/<name>/`, which the program never deletes, and the new content
//! into its place. Each move can be repeated, so a crash at any point leaves the old folder or, after the next opening, the
//! new one.

use super::OpenError;
use super::files::{FolderLock, create_folder, sync_folder, write_durably};
use super::journal::JOURNAL_PREFIX;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const SWITCH: &str = "switch";
const NEXT: &str = "next";
const ASIDE: &str = "aside";
/// What a data folder holds. Only this is exchanged: whatever else lies there may be in use, or not ours to move.
const CONTENT: [&str; 9] = [
    "base.snapshot",
    "damaged",
    "join.json",
    "samples",
    "sled",
    "sled.new",
    "snapshots",
    "watermark",
    "watermark.new",
];

/// The content of the file `switch`.
#[derive(Serialize, Deserialize)]
struct Switch {
    /// The folder below `aside/` where the old content goes.
    aside: String,
    /// The names of the old content.
    old: Vec<String>,
}

/// The exchange of a folder's content.
pub struct FolderSwitch {
    folder: PathBuf,
}

impl FolderSwitch {
    /// Begins anew: whatever an earlier attempt left in `next/` goes. The caller holds the folder's lock.
    ///
    /// # Errors
    /// The folder cannot be written; nothing changed.
    pub fn prepare(folder: &Path) -> io::Result<Self> {
        let next = folder.join(NEXT);
        if next.exists() {
            fs::remove_dir_all(&next)?;
        }
        create_folder(&next)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Where the new content goes.
    pub fn next(&self) -> PathBuf {
        self.folder.join(NEXT)
    }

    /// Where the old content will be.
    pub fn aside(&self, name: &str) -> PathBuf {
        self.folder.join(ASIDE).join(name)
    }

    /// Decides for the new content, which must be durable. From here on the old one is at [`Self::aside`] of the name.
    ///
    /// # Errors
    /// There is something of that name aside already, or the folder cannot be written; nothing changed.
    pub fn commit(self, aside: &str) -> io::Result<()> {
        let target = self.aside(aside);
        if target.exists() {
            let reason = format!("{} is there already", target.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason));
        }
        sync_folder(&self.next())?;
        let switch = Switch { aside: aside.to_owned(), old: names_in(&self.folder)? };
        write_durably(&self.folder.join(SWITCH), &serde_json::to_vec(&switch)?)
    }

    /// Whether an exchange was decided that is not finished.
    pub fn is_decided(folder: &Path) -> bool {
        folder.join(SWITCH).exists()
    }

    /// Finishes an exchange that was decided, if there is one. Opening the folder's log does the same.
    ///
    /// # Errors
    /// A node runs on the folder, or the folder cannot be written; the next call goes on.
    pub fn finish(folder: &Path) -> Result<(), OpenError> {
        if !folder.join(SWITCH).exists() {
            return Ok(());
        }
        let _lock = FolderLock::take(folder)?;
        finish_switch(folder).map_err(OpenError::io("exchange the content of", folder))
    }
}

/// Finishes an exchange that was decided, if there is one. The caller holds the folder's lock.
///
/// # Errors
/// The folder cannot be written; the next call goes on.
pub(super) fn finish_switch(folder: &Path) -> io::Result<()> {
    finish_step_by_step(folder, &mut || Ok(()))
}

/// Calls `before` before each change, so that a test can break off there.
fn finish_step_by_step(folder: &Path, before: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
    let path = folder.join(SWITCH);
    let switch: Switch = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let (next, aside) = (folder.join(NEXT), folder.join(ASIDE).join(&switch.aside));
    before()?;
    create_folder(&aside)?;
    for name in &switch.old {
        let (from, to) = (folder.join(name), aside.join(name));
        // What has this name now may be the new content already.
        if from.exists() && !to.exists() {
            before()?;
            fs::rename(from, to)?;
        }
    }
    // The new content must not come before the old one is away, not even after a power cut.
    sync_folder(&aside)?;
    sync_folder(folder)?;
    // Without `next/` only the file itself is left to remove.
    let new = if next.exists() { names_in(&next)? } else { Vec::new() };
    for name in new {
        before()?;
        fs::rename(next.join(&name), folder.join(&name))?;
    }
    sync_folder(folder)?;
    before()?;
    if next.exists() {
        fs::remove_dir_all(&next)?;
    }
    before()?;
    fs::remove_file(path)?;
    sync_folder(folder)
}

fn names_in(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        // A journal's files are numbered, and the numbers grow.
        let is_content = |name: &&str| CONTENT.contains(name) || name.starts_with(JOURNAL_PREFIX);
        if let Some(name) = name.to_str().filter(is_content) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with old content, of which some has the same names as the new one.
    fn decided() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("below")).expect("a folder");
            fs::write(path, text).expect("a file");
        };
        put("lock", "");
        put("sled/db", "old");
        put("watermark", "old");
        put("journal.7", "old");
        put("journal.12", "old");
        put("aside/earlier/watermark", "older");
        let switch = FolderSwitch::prepare(dir.path()).expect("prepared");
        put("next/sled/db", "new");
        put("next/watermark", "new");
        put("next/snapshots/one", "new");
        put("next/lock", "");
        switch.commit("1").expect("decided");
        dir
    }

    fn content(dir: &Path) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut folders = vec![dir.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("readable") {
                let path = entry.expect("readable").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(dir).expect("below").display().to_string();
                    found.push((name, fs::read_to_string(path).expect("readable")));
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn a_switch_that_breaks_off_anywhere_once_or_twice_comes_to_the_same() {
        let whole = decided();
        finish_switch(whole.path()).expect("finished");
        let expected = content(whole.path());
        let names: Vec<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
        let all = [
            "aside/1/journal.12",
            "aside/1/journal.7",
            "aside/1/sled/db",
            "aside/1/watermark",
            "aside/earlier/watermark",
            "lock",
            "sled/db",
            "snapshots/one",
            "watermark",
        ];
        assert_eq!(names, all);
        assert!(
            expected
                .iter()
                .all(|(name, text)| name == "lock" || name.starts_with("aside") != (text == "new"))
        );

        let steps = 11;
        let breaking_off = |folder: &Path, after: usize| {
            let mut left = after;
            let mut before = || {
                left = left.checked_sub(1).ok_or_else(|| io::Error::other("broken off"))?;
                Ok(())
            };
            finish_step_by_step(folder, &mut before)
        };
        for first in 0..steps {
            for second in 0..steps {
                let dir = decided();
                let broken = breaking_off(dir.path(), first).is_err();
                assert_eq!(broken, first < 10, "the number of steps");
                let _ = breaking_off(dir.path(), second);
                finish_switch(dir.path()).expect("finished");
                assert_eq!(content(dir.path()), expected, "broken off after {first} and {second} steps");
            }
        }
    }

    #[test]
    fn before_the_decision_nothing_is_changed() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("watermark"), "old").expect("a file");
        let switch = FolderSwitch::prepare(dir.path()).expect("prepared");
        fs::write(switch.next().join("watermark"), "new").expect("a file");
        finish_switch(dir.path()).expect("nothing to do");
        assert_eq!(fs::read_to_string(dir.path().join("watermark")).expect("there"), "old");
        // What has gone aside stays as it is.
        fs::create_dir_all(switch.aside("1")).expect("a folder");
        assert_eq!(switch.commit("1").expect_err("taken").kind(), io::ErrorKind::AlreadyExists);
        assert!(!dir.path().join(SWITCH).exists());
        let again = FolderSwitch::prepare(dir.path()).expect("prepared");
        assert_eq!(fs::read_dir(again.next()).expect("readable").count(), 0, "an attempt begins anew");
    }
}
