//! The journal in a file.

use super::storage::{SyncStorage, locked};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Keeps the journal in a file, and damaged lines in one beside it that ends in `.damaged`. A line counts once it is flushed to disk.
/// One synchronizer at a time: a lock on a file beside it, which ends in `.lock` and contains the number of the process, keeps others
/// out.
pub struct FileStorage {
    files: Arc<Mutex<Files>>,
}

struct Files {
    path: PathBuf,
    journal: Option<File>,
    lock: Option<File>,
}

impl FileStorage {
    /// The journal at this path. Its folder is made when it is loaded.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let files = Files { path: path.into(), journal: None, lock: None };
        Self { files: Arc::new(Mutex::new(files)) }
    }

    /// The disk may take its time, which no other task is to wait for.
    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Files) -> io::Result<T> + Send + 'static,
    ) -> BoxFuture<'_, io::Result<T>> {
        let files = self.files.clone();
        async { tokio::task::spawn_blocking(move || work(&mut locked(&files))).await? }.boxed()
    }
}

impl SyncStorage for FileStorage {
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] if another synchronizer has the journal open.
    fn load(&self) -> BoxFuture<'_, io::Result<Vec<String>>> {
        self.blocking(Files::load)
    }

    fn append(&self, lines: Vec<String>) -> BoxFuture<'_, io::Result<()>> {
        self.blocking(move |files| {
            let mut journal = files.opened()?;
            journal.write_all(text(&lines).as_bytes())?;
            journal.sync_data()
        })
    }

    fn replace(&self, lines: Vec<String>) -> BoxFuture<'_, io::Result<()>> {
        self.blocking(move |files| files.replace(&lines))
    }

    fn set_aside(&self, lines: Vec<String>) -> BoxFuture<'_, io::Result<()>> {
        self.blocking(move |files| {
            let mut aside = appending(&files.beside("damaged"))?;
            aside.write_all(text(&lines).as_bytes())?;
            aside.sync_data()
        })
    }

    fn close(&self) -> BoxFuture<'_, io::Result<()>> {
        self.blocking(|files| {
            files.journal = None;
            // An empty file is nobody's. It stays: who waits for its lock has it open.
            files.lock.take().map_or(Ok(()), |lock| lock.set_len(0))
        })
    }
}

impl Files {
    fn load(&mut self) -> io::Result<Vec<String>> {
        fs::create_dir_all(self.folder())?;
        self.own()?;
        // Of a replacement that was not finished.
        match fs::remove_file(self.beside("new")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let bytes = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        self.journal = None;
        let mut journal = self.opened()?;
        // What comes after the last newline was not written to its end.
        if bytes.last().is_some_and(|&last| last != b'\n') {
            journal.write_all(b"\n")?;
        }
        // The file itself, if it is new.
        sync_folder(self.folder())?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn replace(&mut self, lines: &[String]) -> io::Result<()> {
        let next = self.beside("new");
        let mut file = private(OpenOptions::new().write(true).create(true).truncate(true)).open(&next)?;
        file.write_all(text(lines).as_bytes())?;
        file.sync_data()?;
        self.journal = None;
        fs::rename(&next, &self.path)?;
        sync_folder(self.folder())
    }

    fn opened(&mut self) -> io::Result<&File> {
        if self.lock.is_none() {
            return Err(io::Error::other("it is not open"));
        }
        if self.journal.is_none() {
            self.journal = Some(appending(&self.path)?);
        }
        Ok(self.journal.as_ref().expect("it was just opened"))
    }

    /// Two that append to one journal would mix their lines.
    fn own(&mut self) -> io::Result<()> {
        if self.lock.is_some() {
            return Ok(());
        }
        let busy = |owner: &str| {
            let reason = format!("{} is open in {owner}", self.path.display());
            io::Error::new(io::ErrorKind::ResourceBusy, reason)
        };
        let path = self.beside("lock");
        let mut options = OpenOptions::new();
        let mut lock = private(options.read(true).write(true).create(true).truncate(false)).open(path)?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(busy("another synchronizer")),
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => {}
        }
        let mut owner = String::new();
        (&lock).take(64).read_to_string(&mut owner)?;
        // The TypeScript client locks nothing, and writes its number without a newline. Ours would still hold the lock.
        if let Ok(process) = owner.parse::<i32>()
            && process > 0
            && is_alive(process)
        {
            return Err(busy(&format!("the process {process}")));
        }
        lock.set_len(0)?;
        io::Seek::rewind(&mut lock)?;
        writeln!(lock, "{}", std::process::id())?;
        self.lock = Some(lock);
        Ok(())
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{ending}"));
        name.into()
    }

    fn folder(&self) -> &Path {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent.unwrap_or(Path::new("."))
    }
}

fn text(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

fn appending(path: &Path) -> io::Result<File> {
    private(OpenOptions::new().append(true).create(true)).open(path)
}

/// Values are nobody else's business.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

#[cfg(unix)]
fn is_alive(process: i32) -> bool {
    // SAFETY: signal 0 is sent to nobody; it only asks.
    let asked = unsafe { libc::kill(process, 0) };
    asked == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

#[cfg(not(unix))]
fn is_alive(_: i32) -> bool {
    true
}
