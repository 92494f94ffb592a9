//! Where data goes: a folder that is gone afterwards, on something that keeps what it is given.

use anyhow::{Context, Result, bail};
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// As in `linux/magic.h`; `libc` has the other one only.
const RAMFS_MAGIC: libc::c_long = 0x8584_58f6;

/// Where the data is kept.
#[derive(Debug, Clone, clap::Args)]
pub struct Disk {
    /// Folder on the disk to be measured; what is put there is removed at the end
    #[arg(long, value_name = "FOLDER", default_value = "/var/tmp")]
    pub data_dir: PathBuf,
}

impl Disk {
    /// A new folder below the one that was named.
    ///
    /// # Errors
    /// It is in memory, where a flush costs nothing and nothing is durable; or it cannot be written.
    pub fn folder(&self) -> Result<TempDir> {
        let parent = &self.data_dir;
        std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        if is_memory(parent)? {
            let shown = parent.display();
            bail!("{shown} is in memory, where flushes cost nothing: name a folder on a disk");
        }
        let folder = tempfile::Builder::new().prefix("lockstep-rivals-").tempdir_in(parent);
        folder.with_context(|| format!("cannot create a folder in {}", parent.display()))
    }
}

fn is_memory(path: &Path) -> Result<bool> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut about = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the name ends with a zero, and `about` is filled when the call succeeds.
    let about = unsafe {
        if libc::statfs(name.as_ptr(), about.as_mut_ptr()) != 0 {
            return Err(std::io::Error::last_os_error()).context("statfs");
        }
        about.assume_init()
    };
    Ok([libc::TMPFS_MAGIC, RAMFS_MAGIC].contains(&about.f_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_no_disk() {
        if Path::new("/dev/shm").is_dir() {
            assert!(is_memory(Path::new("/dev/shm")).expect("it is there"));
        }
        assert!(Disk { data_dir: "/dev/null/x".into() }.folder().is_err());
    }
}
