//! A file of JSON lines, each of which belongs to a step of a merge.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// The file, open for more lines.
pub struct Records {
    path: PathBuf,
    out: BufWriter<File>,
    lines: u64,
    /// Lines that an earlier run wrote for the last step that was applied. It may not have written all of them.
    of_last_step: BTreeSet<Vec<u8>>,
}

#[derive(Deserialize)]
struct OfStep {
    step: u64,
}

impl Records {
    /// Opens the file, or makes it. An earlier run may have written lines for a step that was not applied: those of the step
    /// that is `due` go, and so does a line that was cut short.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn open(path: &Path, due: u64) -> Result<Self> {
        let cannot = || format!("cannot write {}", path.display());
        let mut options = OpenOptions::new();
        let file =
            options.create(true).truncate(false).read(true).write(true).open(path).with_context(cannot)?;
        let (mut kept, mut lines, mut of_last_step) = (0, 0, BTreeSet::new());
        let mut reader = BufReader::new(&file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).with_context(cannot)? > 0 {
            let of_step = serde_json::from_slice::<OfStep>(&line).ok().filter(|of| of.step < due);
            let Some(OfStep { step }) = of_step.filter(|_| line.last() == Some(&b'\n')) else { break };
            (kept, lines) = (kept + line.len() as u64, lines + 1);
            if step + 1 == due {
                of_last_step.insert(line.clone());
            }
            line.clear();
        }
        file.set_len(kept).with_context(cannot)?;
        let file = OpenOptions::new().append(true).open(path).with_context(cannot)?;
        Ok(Self { path: path.to_owned(), out: BufWriter::new(file), lines, of_last_step })
    }

    /// Adds a line, unless an earlier run did.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, line: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        if !self.of_last_step.remove(&text) {
            self.out.write_all(&text)?;
            self.lines += 1;
        }
        Ok(())
    }

    /// Returns once all lines are on disk.
    ///
    /// # Errors
    /// They may not be.
    pub fn sync(&mut self) -> Result<()> {
        let cannot = || format!("cannot write {}", self.path.display());
        self.out.flush().with_context(cannot)?;
        self.out.get_ref().sync_data().with_context(cannot)
    }

    pub fn lines(&self) -> u64 {
        self.lines
    }
}
