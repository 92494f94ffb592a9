//! The journal: a ring of files of one size. One write and one sync make a batch durable here.
//!
//! A file is filled with zeros when it is created, so that a sync never has to update block addresses. Where batches are
//! large the file system only reserves its space: syncs are few, and the zeros would double the bytes that are written.
//! The oldest file is given back once nothing needs what it holds, and is then written again from its front.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::sync_folder;
use super::journal_format;

/// From this many bytes a write on, on average, a new file's space is reserved and not filled.
const LARGE_WRITE: u64 = 256 << 10;

/// A value in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The number that the file had when it was taken into use: see [`Journal::file`].
    pub file: u32,
    pub at: u32,
    pub length: u32,
}

/// The files, those in use oldest first, and where the next batch is written.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    /// Bytes of a file.
    file_bytes: u64,
    /// The most files.
    most: usize,
    in_use: VecDeque<JournalFile>,
    /// How many files were taken into use before the first of `in_use`.
    before: u32,
    /// Whether the last file in use is written at its end. After a start it is not: what a power cut left torn behind
    /// its last batch must never be followed by a batch that fits to it.
    open: bool,
    spare: Vec<Named>,
    /// The number in the name of the next file that is created.
    next_name: u32,
}

/// A file and the number in its name.
#[derive(Debug, Clone)]
struct Named {
    name: u32,
    file: Arc<File>,
}

/// A file in use.
#[derive(Debug)]
pub(super) struct JournalFile {
    named: Named,
    bytes: u64,
    /// Where its batches end.
    end: u64,
    /// Writes since it was taken into use.
    writes: u64,
    /// The manifest in its last batch.
    pub manifest: Vec<u8>,
    /// How many records it holds that are the newest under their keys.
    pub live: usize,
    /// How many deletions it holds that the database must still be told.
    pub tombstones: usize,
}

impl JournalFile {
    /// For reading.
    pub(super) fn handle(&self) -> &Arc<File> {
        &self.named.file
    }
}

/// A batch that was found in a file in use.
pub(super) struct Found<'a> {
    pub batch: journal_format::Batch,
    /// The whole file.
    pub bytes: &'a [u8],
    /// The number of its file.
    pub file: u32,
}

impl Journal {
    /// Opens the files of a folder. `visit` gets the batches after number `seq`, in order, with the journal as it is then.
    ///
    /// # Errors
    /// Reading failed; or, as `InvalidData`, a batch is missing before others.
    pub(super) fn open(
        folder: &Path,
        store: [u8; 16],
        (file_bytes, most): (usize, usize),
        seq: u64,
        mut visit: impl FnMut(&mut Journal, Found<'_>),
    ) -> io::Result<Journal> {
        let mut journal = Journal {
            folder: folder.to_owned(),
            file_bytes: file_bytes as u64,
            most: most.max(3),
            in_use: VecDeque::new(),
            before: 0,
            open: false,
            spare: Vec::new(),
            next_name: 0,
        };
        let mut files = Vec::new();
        for name in names(folder)? {
            journal.next_name = journal.next_name.max(name + 1);
            let first =
                journal_format::decode(store, &fs::read(path(folder, name))?, 0).map(|batch| batch.seq);
            files.push((first, name));
        }
        files.sort_unstable();
        let mut last = seq;
        for (_, name) in files {
            let path = path(folder, name);
            let (bytes, file) = (fs::read(&path)?, File::options().read(true).write(true).open(&path)?);
            let named = Named { name, file: Arc::new(file) };
            let mut newer = journal_format::batches(store, &bytes).filter(|batch| batch.seq > seq).peekable();
            if newer.peek().is_none() {
                journal.give_back(named, bytes.len() as u64)?;
                continue;
            }
            // It may be in the system's cache only.
            named.file.sync_data()?;
            journal.push(named, bytes.len() as u64);
            for batch in newer {
                if batch.follows != last {
                    let (found, missing) = (batch.seq, batch.follows);
                    let what = format!("it holds flush {found}, but flush {missing} before it is missing");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
                last = batch.seq;
                journal.newest().end = batch.end as u64;
                let file = journal.newest_number();
                visit(&mut journal, Found { batch, bytes: &bytes, file });
            }
        }
        Ok(journal)
    }

    /// Whether this many bytes fit the rest of the newest file.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let fits = |file: &JournalFile| file.end + bytes as u64 <= file.bytes;
        self.open && self.in_use.back().is_some_and(fits)
    }

    /// Whether there is no file to continue in.
    pub(super) fn is_full(&self) -> bool {
        self.in_use.len() >= self.most
    }

    /// Continues at the front of another file, with room for this many bytes.
    pub(super) fn turn(&mut self, bytes: usize) -> io::Result<()> {
        let spare = match self.spare.iter().position(|spare| Arc::strong_count(&spare.file) == 1) {
            // One larger than the others is for what fits no other.
            _ if bytes as u64 > self.file_bytes => None,
            found => found.map(|at| self.spare.swap_remove(at)),
        };
        let length = self.file_bytes.max(bytes as u64);
        let named = match spare {
            Some(named) => named,
            None => {
                let (name, fill) = (self.next_name(), self.fill());
                Named { name, file: create(&path(&self.folder, name), length, fill)? }
            }
        };
        self.push(named, length);
        self.open = true;
        Ok(())
    }

    /// The file that should be created ahead of need, if any.
    pub(super) fn next_to_create(&mut self) -> Option<FileToCreate> {
        (self.spare.is_empty() && self.in_use.len() + 1 < self.most).then(|| {
            let name = self.next_name();
            let (path, bytes, fill) = (path(&self.folder, name), self.file_bytes, self.fill());
            FileToCreate { name, path, bytes, fill }
        })
    }

    /// How the next file that is created gets its space.
    fn fill(&self) -> Fill {
        let large = |file: &JournalFile| file.writes > 0 && file.end / file.writes >= LARGE_WRITE;
        if self.in_use.back().is_some_and(large) { Fill::Reserve } else { Fill::Zeros }
    }

    /// Takes a file that was created ahead of need.
    pub(super) fn created(&mut self, name: u32, file: Arc<File>) {
        self.spare.push(Named { name, file });
    }

    fn next_name(&mut self) -> u32 {
        self.next_name += 1;
        self.next_name - 1
    }

    /// Makes encoded batches durable, at the end of the newest file. Returns where they start.
    pub(super) fn write(&mut self, batches: &[u8]) -> io::Result<u32> {
        assert!(self.has_room(batches.len()), "a file of the journal never grows");
        let newest = self.newest();
        let at = newest.end;
        newest.named.file.write_all_at(batches, at)?;
        newest.named.file.sync_data()?;
        newest.end += batches.len() as u64;
        newest.writes += 1;
        Ok(at as u32)
    }

    fn push(&mut self, named: Named, bytes: u64) {
        let manifest = Vec::new();
        self.in_use.push_back(JournalFile {
            named,
            bytes,
            end: 0,
            writes: 0,
            manifest,
            live: 0,
            tombstones: 0,
        });
    }

    /// The file that is written, or was last.
    pub(super) fn newest(&mut self) -> &mut JournalFile {
        self.in_use.back_mut().expect("a file is in use")
    }

    /// Its number.
    pub(super) fn newest_number(&self) -> u32 {
        self.before + self.in_use.len() as u32 - 1
    }

    /// A file in use by its number: they are counted as they are taken into use.
    pub(super) fn file(&mut self, number: u32) -> &mut JournalFile {
        &mut self.in_use[(number - self.before) as usize]
    }

    /// The files in use with their numbers, oldest first.
    pub(super) fn files(&self) -> impl Iterator<Item = (u32, &JournalFile)> {
        (self.before..).zip(&self.in_use)
    }

    /// The number of the last file, from the oldest on, that a checkpoint should make spare: all those without a live
    /// record, and one at least when the last files are in use. Never the file that is written.
    pub(super) fn to_retire(&self) -> Option<u32> {
        let others = self.in_use.len().checked_sub(1)?;
        let dead = self.in_use.iter().take(others).take_while(|file| file.live == 0).count();
        let needed = usize::from(self.in_use.len() + 1 >= self.most && others > 0);
        let count = dead.max(needed);
        (count > 0).then(|| self.before + count as u32 - 1)
    }

    /// Makes the files up to number `last` spare: the database has what they held.
    pub(super) fn retire(&mut self, last: u32) -> io::Result<()> {
        while self.before <= last
            && let Some(file) = self.in_use.pop_front()
        {
            self.before += 1;
            self.give_back(file.named, file.bytes)?;
        }
        Ok(())
    }

    fn give_back(&mut self, named: Named, bytes: u64) -> io::Result<()> {
        if bytes == self.file_bytes && self.in_use.len() + self.spare.len() < self.most {
            self.spare.push(named);
            return Ok(());
        }
        fs::remove_file(path(&self.folder, named.name))
    }

    /// Bytes from the oldest live record on.
    pub(super) fn live_bytes(&self) -> u64 {
        self.in_use.iter().skip_while(|file| file.live == 0).map(|file| file.end).sum()
    }
}

/// A file to be created ahead of need.
pub(super) struct FileToCreate {
    /// The number in its name.
    pub name: u32,
    pub path: PathBuf,
    pub bytes: u64,
    pub fill: Fill,
}

/// How a new file gets its space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    /// Zeros are written.
    Zeros,
    /// The file system reserves blocks that read as zeros.
    Reserve,
}

/// Creates a file of zeros. One that a crash left unfinished has no batch, and the next start removes it.
pub(super) fn create(path: &Path, bytes: u64, fill: Fill) -> io::Result<Arc<File>> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    if fill == Fill::Zeros || !reserve(&file, bytes)? {
        file.write_all_at(&vec![0; bytes as usize], 0)?;
    }
    file.sync_all()?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))?;
    Ok(Arc::new(file))
}

/// Whether the file system can reserve space.
fn reserve(file: &File, bytes: u64) -> io::Result<bool> {
    use rustix::io::Errno;
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// How its files are named; a number follows.
pub(super) const JOURNAL_PREFIX: &str = "journal.";

fn path(folder: &Path, name: u32) -> PathBuf {
    folder.join(format!("{JOURNAL_PREFIX}{name}"))
}

/// The numbers in the names of the folder's files.
fn names(folder: &Path) -> io::Result<Vec<u32>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(JOURNAL_PREFIX));
        names.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(folder: &Path) -> Journal {
        Journal::open(folder, [0; 16], (1 << 20, 4), 0, |_, _| ()).expect("an empty folder")
    }

    /// Many small syncs should not have to update block addresses, and few large ones should not write twice the bytes.
    #[test]
    fn a_new_file_is_filled_with_zeros_unless_writes_are_large() {
        let folder = tempfile::tempdir().expect("a folder");
        for (bytes, fill) in [(4 << 10, Fill::Zeros), (300 << 10, Fill::Reserve), (100 << 10, Fill::Zeros)] {
            let mut journal = journal(folder.path());
            journal.turn(bytes).expect("a file");
            assert_eq!(
                journal.next_to_create().expect("one more").fill,
                Fill::Zeros,
                "before its first write"
            );
            for _ in 0..3 {
                journal.write(&vec![7; bytes]).expect("written");
            }
            assert_eq!(journal.next_to_create().expect("one more").fill, fill, "{bytes} bytes a write");
        }
    }

    #[test]
    fn reserved_space_reads_as_zeros_and_has_its_length() {
        let folder = tempfile::tempdir().expect("a folder");
        for fill in [Fill::Zeros, Fill::Reserve] {
            let file = create(&folder.path().join("file"), 1 << 20, fill).expect("created");
            file.write_all_at(&[1; 1_000], 0).expect("written");
            let bytes = fs::read(folder.path().join("file")).expect("read");
            assert_eq!(bytes.len(), 1 << 20);
            assert!(bytes[1_000..].iter().all(|byte| *byte == 0));
        }
    }
}
