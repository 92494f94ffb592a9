//! A file of JSON lines, each of which belongs to a step of a merge.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
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

impl Records {
    /// Opens the file of a merge, or makes it. An earlier run may have written lines for steps that were not applied: those go,
    /// and so does a last line that was cut short. `newest` are the newest steps that were applied, of which it may not have
    /// written all: what follows the first line of a step that was not applied is about them, and will be written again.
    ///
    /// # Errors
    /// It cannot be read or written, another run has it open, or it has anything else in it.
    pub fn open(path: &Path, merge: &str, newest: Range<u64>) -> Result<Self> {
        let cannot = || format!("cannot write {}", path.display());
        let mut options = OpenOptions::new();
        let file =
            options.create(true).truncate(false).read(true).write(true).open(path).with_context(cannot)?;
        file.try_lock().with_context(|| format!("{} is in use by another run", path.display()))?;
        let (mut kept, mut lines, mut of_newest_steps) = (0, 0, BTreeSet::new());
        let mut reader = BufReader::new(&file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).with_context(cannot)? > 0 && line.last() == Some(&b'\n') {
            let of: Option<OfStep> = serde_json::from_slice(&line).ok();
            let Some(OfStep { step, .. }) = of.filter(|of| of.merge == merge) else {
                bail!("{} has lines that are not of this plan: name another file", path.display());
            };
            if step >= newest.end {
                break;
            }
            (kept, lines) = (kept + line.len() as u64, lines + 1);
            if newest.contains(&step) {
                of_newest_steps.insert(line.clone());
            }
            line.clear();
        }
        // A last line that was cut short begins as the others do.
        let head = format!("{{\"merge\":\"{merge}\"").into_bytes();
        let is_cut = line.last() != Some(&b'\n');
        if is_cut && !line.starts_with(&head) && !head.starts_with(&line) {
            bail!("{} has lines that are not of this plan: name another file", path.display());
        }
        file.set_len(kept).with_context(cannot)?;
        sync_folder(path)?;
        let mut out = BufWriter::new(file);
        std::io::Seek::seek(&mut out, std::io::SeekFrom::End(0)).with_context(cannot)?;
        Ok(Self { path: path.to_owned(), out, lines, unsynced: true, of_newest_steps })
    }

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
