//! Snapshot files: one folder, one current snapshot, replaced as a whole.
//!
//! A new snapshot is written (or received) to a temporary file, synced, read back and verified, and only then renamed over
//! the old one. So `current.snapshot` is always a whole file, or does not exist. A reader that has the old one open can
//! finish reading it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;

use super::files::{FolderLock, create_folder, sync_folder};
use super::snapshot_format::{Encoder, SnapshotBody, SnapshotMetaInfo};
use super::synced_writer::SyncedWriter;
use super::{OpenError, StorageError};

const CURRENT: &str = "current.snapshot";
const UNFINISHED: &str = "unfinished";

/// The snapshots of one node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Snapshots {
    inner: Arc<Inner>,
}

/// The snapshots of a node that may have stopped meanwhile. It does not keep the folder locked.
#[derive(Debug, Clone)]
pub struct WeakSnapshots(Weak<Inner>);

impl WeakSnapshots {
    /// The snapshots, while another handle exists.
    pub fn upgrade(&self) -> Option<Snapshots> {
        self.0.upgrade().map(|inner| Snapshots { inner })
    }
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    /// Held while a file is moved into place, so that an older snapshot never replaces a newer one.
    current: Mutex<Option<SnapshotFile>>,
    next: AtomicU64,
    _lock: FolderLock,
}

impl Snapshots {
    /// Opens or creates the folder, removes what unfinished writes left, and verifies the current snapshot. A damaged
    /// one is refused: the log before it is purged, so to treat it as missing would lose data.
    pub fn open(dir: impl AsRef<Path>) -> Result<Snapshots, OpenError> {
        Self::open_with(dir.as_ref(), SnapshotFile::open)
    }

    /// Like [`open`](Self::open), but checks only the ends of the current snapshot. For who reads its body anyway, which
    /// checks all of it; see [`SnapshotFile::refused`].
    pub fn open_unread(dir: impl AsRef<Path>) -> Result<Snapshots, OpenError> {
        Self::open_with(dir.as_ref(), SnapshotFile::open_unread)
    }

    fn open_with(
        dir: &Path,
        open: impl Fn(&Path) -> io::Result<SnapshotFile>,
    ) -> Result<Snapshots, OpenError> {
        let folder = dir.to_owned();
        create_folder(&folder).map_err(OpenError::io("create", &folder))?;
        let lock = FolderLock::take(&folder)?;
        for entry in fs::read_dir(&folder).map_err(OpenError::io("list", &folder))? {
            let path = entry.map_err(OpenError::io("list", &folder))?.path();
            if path.extension().is_some_and(|extension| extension == UNFINISHED) {
                fs::remove_file(&path).map_err(OpenError::io("remove", &path))?;
            }
        }
        let path = folder.join(CURRENT);
        let current = match open(&path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(OpenError::damaged(path, error.to_string()));
            }
            Err(error) => return Err(OpenError::io("read", &path)(error)),
        };
        let inner = Inner { folder, current: Mutex::new(current), next: AtomicU64::new(0), _lock: lock };
        Ok(Snapshots { inner: Arc::new(inner) })
    }

    /// A handle for tasks that wait long.
    pub fn downgrade(&self) -> WeakSnapshots {
        WeakSnapshots(Arc::downgrade(&self.inner))
    }

    /// The newest snapshot.
    pub fn current(&self) -> Option<SnapshotFile> {
        self.inner.current.lock().expect("not poisoned").clone()
    }

    /// Writes a snapshot of everything up to log `index`; `body` gets the stream to write to. It is durable and current
    /// when this returns; after an error the previous snapshot is current. Blocks until the disk has it.
    pub fn write(
        &self,
        index: u64,
        meta: &[u8],
        body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<SnapshotFile, StorageError> {
        let temp = self.temp_file()?;
        let write = |file: &File| {
            let mut encoder =
                Encoder::new(BufWriter::with_capacity(64 << 10, SyncedWriter::new(file)), index, meta)?;
            body(&mut encoder)?;
            encoder.finish().map(drop)
        };
        write(&temp.file).map_err(StorageError::io("write the snapshot"))?;
        temp.file.sync_all().map_err(StorageError::io("sync the snapshot"))?;
        let received = temp.verified()?;
        self.install(received)
    }

    /// Starts to receive the bytes of a snapshot file from a peer.
    pub fn receive(&self) -> Result<IncomingSnapshot, StorageError> {
        let temp = self.temp_file()?;
        Ok(IncomingSnapshot { out: SyncedWriter::new(temp.file.clone()), temp })
    }

    /// Makes a received snapshot the current one; durable when this returns. One that is older than the current
    /// snapshot is dropped with [`StorageError::Superseded`].
    pub fn install(&self, received: ReceivedSnapshot) -> Result<SnapshotFile, StorageError> {
        let ReceivedSnapshot { temp, info } = received;
        let mut current = self.inner.current.lock().expect("not poisoned");
        if let Some(newer) = current.as_ref().filter(|current| current.index > info.index) {
            return Err(StorageError::Superseded { index: info.index, current: newer.index });
        }
        let path = self.inner.folder.join(CURRENT);
        fs::rename(&temp.path, &path).map_err(StorageError::io("rename the snapshot"))?;
        let file = SnapshotFile::new(path, temp.file.clone(), info);
        // The new file is in place from here on, so it is current even if its name cannot be made durable.
        *current = Some(file.clone());
        sync_folder(&self.inner.folder).map_err(StorageError::io("sync the snapshot folder"))?;
        Ok(file)
    }

    fn temp_file(&self) -> Result<TempFile, StorageError> {
        let number = self.inner.next.fetch_add(1, Relaxed);
        let path = self.inner.folder.join(format!("{number}.{UNFINISHED}"));
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(StorageError::io("create a snapshot file"))?;
        Ok(TempFile { path, file: Arc::new(file) })
    }
}

/// A file that is not in place yet. Dropping it removes its name.
#[derive(Debug)]
struct TempFile {
    path: PathBuf,
    file: Arc<File>,
}

impl TempFile {
    /// Reads the whole file back.
    fn verified(self) -> Result<ReceivedSnapshot, StorageError> {
        match SnapshotBody::new(self.file.clone()).verify() {
            Ok(info) => Ok(ReceivedSnapshot { temp: self, info }),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(StorageError::damaged(format!("the snapshot ({error})")))
            }
            Err(error) => Err(StorageError::io("read the snapshot back")(error)),
        }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // After a rename there is no file of this name; after another failure, the next open removes it.
        let _ = fs::remove_file(&self.path);
    }
}

/// A snapshot that is being received. Dropping it removes it.
#[derive(Debug)]
pub struct IncomingSnapshot {
    out: SyncedWriter<Arc<File>>,
    temp: TempFile,
}

impl IncomingSnapshot {
    /// Starts to write a backup, a snapshot file outside of any snapshot folder, under another name beside its own. What an
    /// earlier attempt left there is replaced. Others cannot read it.
    pub fn aside(path: &Path) -> Result<IncomingSnapshot, StorageError> {
        let path = name_aside(path);
        let created = || {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)
        };
        let file = Arc::new(created().map_err(StorageError::io("create a file for the backup"))?);
        Ok(IncomingSnapshot { out: SyncedWriter::new(file.clone()), temp: TempFile { path, file } })
    }

    /// Adds the next bytes of the file.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.out.write_all(bytes).map_err(StorageError::io("write the received snapshot"))
    }

    /// Syncs the file and verifies all of it. A damaged one is removed.
    pub fn finish(self) -> Result<ReceivedSnapshot, StorageError> {
        self.temp.file.sync_all().map_err(StorageError::io("sync the received snapshot"))?;
        self.temp.verified()
    }
}

/// A verified snapshot that is not current yet. Dropping it removes it.
#[derive(Debug)]
pub struct ReceivedSnapshot {
    temp: TempFile,
    info: SnapshotMetaInfo,
}

impl ReceivedSnapshot {
    /// What its header says.
    pub fn info(&self) -> &SnapshotMetaInfo {
        &self.info
    }

    /// What its writer recorded with it.
    pub fn meta(&self) -> &Bytes {
        &self.info.meta
    }

    /// The last log index in it.
    pub fn index(&self) -> u64 {
        self.info.index
    }

    /// Its body, to build the state from before installing it.
    pub fn body(&self) -> SnapshotBody {
        SnapshotBody::new(self.temp.file.clone())
    }

    /// Gives a backup that was written [aside](IncomingSnapshot::aside) its own name; durable when this returns.
    pub fn place(self, path: &Path) -> Result<SnapshotMetaInfo, StorageError> {
        fs::rename(&self.temp.path, path).map_err(StorageError::io("rename the backup"))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        sync_folder(folder.unwrap_or(Path::new(".")))
            .map_err(StorageError::io("sync the backup's folder"))?;
        Ok(self.info)
    }
}

/// What a backup is called while it is written.
pub fn name_aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// A snapshot that is, or was, current. The file stays readable as long as a handle lives.
#[derive(Debug, Clone)]
pub struct SnapshotFile {
    /// Where it is, or was before a newer one replaced it.
    pub path: PathBuf,
    /// What its writer recorded with it.
    pub meta: Bytes,
    /// The last log index in it.
    pub index: u64,
    /// Bytes of the whole file.
    pub bytes: u64,
    file: Arc<File>,
}

impl SnapshotFile {
    fn new(path: PathBuf, file: Arc<File>, info: SnapshotMetaInfo) -> SnapshotFile {
        SnapshotFile { path, meta: info.meta, index: info.index, bytes: info.file_bytes, file }
    }

    /// Opens and verifies a file; damage is an error of kind `InvalidData`.
    fn open(path: &Path) -> io::Result<SnapshotFile> {
        let file = Arc::new(File::open(path)?);
        let info = SnapshotBody::new(file.clone()).verify()?;
        Ok(SnapshotFile::new(path.to_owned(), file, info))
    }

    /// Opens a file, and reads its ends only; damage there is an error of kind `InvalidData`.
    fn open_unread(path: &Path) -> io::Result<SnapshotFile> {
        let file = Arc::new(File::open(path)?);
        let info = SnapshotBody::new(file.clone()).ends()?;
        Ok(SnapshotFile::new(path.to_owned(), file, info))
    }

    /// Why a folder with this snapshot cannot be used, after its body could not be read.
    pub fn refused(&self, error: &dyn std::fmt::Display) -> OpenError {
        OpenError::damaged(&self.path, error.to_string())
    }

    /// Opens and verifies a backup, a snapshot file outside of any snapshot folder.
    ///
    /// # Errors
    /// [`OpenError`] names the damage, or why the file can't be read.
    pub fn open_backup(path: impl AsRef<Path>) -> Result<SnapshotFile, OpenError> {
        let path = path.as_ref();
        SnapshotFile::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => {
                OpenError::Backup { file: path.to_owned(), what: error.to_string() }
            }
            _ => OpenError::io("read", path)(error),
        })
    }

    /// Gives the file a second name, under which it stays when a newer snapshot replaces it. Blocks.
    ///
    /// # Errors
    /// It cannot be written there.
    pub fn keep_as(&self, path: &Path) -> io::Result<()> {
        // Not every file system has links.
        if fs::hard_link(&self.path, path).is_err() {
            fs::copy(&self.path, path)?;
        }
        File::open(path)?.sync_all()
    }

    /// The body as a stream that checks what it reads.
    pub fn body(&self) -> SnapshotBody {
        SnapshotBody::new(self.file.clone())
    }

    /// Up to `len` bytes of the file itself from `offset`, to send to a peer; shorter only at the end of the file.
    pub fn raw_chunk(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let left = usize::try_from(self.bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut chunk = vec![0; len.min(left)];
        self.file.read_exact_at(&mut chunk, offset)?;
        Ok(chunk.into())
    }
}

/// Verifies every byte of a snapshot or backup file and returns what it holds.
pub fn verify_file(path: impl AsRef<Path>) -> Result<SnapshotMetaInfo, OpenError> {
    let path = path.as_ref();
    let file = Arc::new(File::open(path).map_err(OpenError::io("open", path))?);
    SnapshotBody::new(file).verify().map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => OpenError::Backup { file: path.to_owned(), what: error.to_string() },
        _ => OpenError::io("read", path)(error),
    })
}
