//! A file of JSON lines, each of which belongs to a step of a merge.

use anyhow::{Context, Result, anyhow};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The file, open for more lines.
pub struct Records {
    path: PathBuf,
    out: BufWriter<File>,
    lines: u64,
    /// Whether lines were written that may not be on disk.
    unsynced: bool,
    /// Lines that an earlier run wrote for the newest steps. It may not have written all of them.
    of_newest_steps: BTreeSet<Vec<u8>>,
}

#[derive(Deserialize)]
struct OfStep {
    merge: String,
    step: u64,
}

/// The file, which no other run can have open, before it is known what of it stays.
pub struct LockedFile {
    path: PathBuf,
    file: File,
}

impl LockedFile {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// It cannot be read or written, or another run has it open.
    pub fn open(path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        let file = options.open(path).with_context(|| format!("cannot write {}", path.display()))?;
        file.try_lock().with_context(|| format!("{} is in use by another run", path.display()))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// The last step of this merge that it has whole lines of.
    ///
    /// # Errors
    /// It cannot be read, or it has anything else in it.
    pub fn last_step(&self, merge: &str) -> Result<Option<u64>> {
        let mut last = None;
        self.lines(merge, |step, _| {
            last = last.max(Some(step));
            true
        })?;
        Ok(last)
    }

    /// Goes on with the file of a merge. An earlier run may have written lines for steps that were not applied: those go, and so does
    /// a last line that was cut short. `newest` are the newest steps that were applied, of which it may not have written all: what
    /// follows the first line of a step that was not applied is about them, and will be written again.
    ///
    /// # Errors
    /// It cannot be read or written, or it has anything else in it.
    pub fn go_on(self, merge: &str, newest: Range<u64>) -> Result<Records> {
        let (mut kept, mut lines, mut of_newest_steps) = (0, 0, BTreeSet::new());
        self.lines(merge, |step, line| {
            if step >= newest.end {
                return false;
            }
            (kept, lines) = (kept + line.len() as u64, lines + 1);
            if newest.contains(&step) {
                of_newest_steps.insert(line.to_vec());
            }
            true
        })?;
        let Self { path, file } = self;
        let cannot = || format!("cannot write {}", path.display());
        file.set_len(kept).with_context(cannot)?;
        sync_folder(&path)?;
        let mut out = BufWriter::new(file);
        out.seek(SeekFrom::End(0)).with_context(cannot)?;
        Ok(Records { path, out, lines, unsynced: true, of_newest_steps })
    }

    /// Hands on each whole line, with its step, until `goes_on` says no.
    fn lines(&self, merge: &str, mut goes_on: impl FnMut(u64, &[u8]) -> bool) -> Result<()> {
        let cannot = || format!("cannot read {}", self.path.display());
        let foreign =
            || anyhow!("{} has lines that are not of this plan: name another file", self.path.display());
        let mut reader = BufReader::new(&self.file);
        reader.rewind().with_context(cannot)?;
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).with_context(cannot)? > 0 && line.last() == Some(&b'\n') {
            let of: Option<OfStep> = serde_json::from_slice(&line).ok();
            let OfStep { step, .. } = of.filter(|of| of.merge == merge).ok_or_else(foreign)?;
            if !goes_on(step, &line) {
                return Ok(());
            }
            line.clear();
        }
        // A last line that was cut short begins as the others do.
        let head = format!("{{\"merge\":\"{merge}\"").into_bytes();
        match line.starts_with(&head) || head.starts_with(&line) {
            true => Ok(()),
            false => Err(foreign()),
        }
    }
}

impl Records {
    /// Adds a line, which ends with a line feed, unless an earlier run did.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, line: &[u8]) -> Result<()> {
        if !self.of_newest_steps.remove(line) {
            self.out.write_all(line).with_context(|| format!("cannot write {}", self.path.display()))?;
            self.lines += 1;
            self.unsynced = true;
        }
        Ok(())
    }

    /// Returns once all lines are on disk.
    ///
    /// # Errors
    /// They may not be.
    pub fn sync(&mut self) -> Result<()> {
        if !self.unsynced {
            return Ok(());
        }
        let cannot = || format!("cannot write {}", self.path.display());
        self.out.flush().with_context(cannot)?;
        self.out.get_ref().sync_data().with_context(cannot)?;
        self.unsynced = false;
        Ok(())
    }

    pub fn lines(&self) -> u64 {
        self.lines
    }
}

/// Returns once a file's name is on disk.
///
/// # Errors
/// It may not be.
pub fn sync_folder(file: &Path) -> Result<()> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let sync = || File::open(parent)?.sync_all();
    sync().with_context(|| format!("cannot sync {}", parent.display()))
}
