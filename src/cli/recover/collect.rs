//! `lockstep recover collect`.

use crate::node::survey;
use crate::recover::{SURVIVOR_VERSION, Survivor};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;

/// Prints or writes what a folder says.
pub fn collect(folder: &Path, out: Option<&Path>) -> Result<()> {
    let survivor = survey(folder).with_context(|| format!("cannot collect {}", folder.display()))?;
    let text = serde_json::to_string(&survivor)?;
    match out {
        Some(path) => {
            fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
        }
        None => {
            println!("{text}");
            Ok(())
        }
    }
}

/// What a survivor's folder says, or a file that [`collect`] wrote.
pub fn read(path: &Path) -> Result<Survivor> {
    if path.is_dir() {
        return survey(path).with_context(|| format!("cannot collect {}", path.display()));
    }
    let unreadable =
        || format!("{} is no data folder, and not what `recover collect` writes", path.display());
    let survivor: Survivor =
        serde_json::from_slice(&fs::read(path).with_context(unreadable)?).with_context(unreadable)?;
    if survivor.survivor != SURVIVOR_VERSION {
        bail!("{} has version {}, this program reads {SURVIVOR_VERSION}", path.display(), survivor.survivor);
    }
    Ok(survivor)
}
