//! The newest records of something, in a file of bounded length, for data that may be lost: nothing is flushed. A process
//! that is killed loses nothing, and a power cut may lose everything.
//!
//! A header of 24 bytes, then records: length u16 | xxh3-64 of the bytes | bytes, numbers little-endian.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

const MAGIC: &[u8; 8] = b"LSROLL01";
const HEADER_BYTES: usize = 24;
const FRAME_BYTES: usize = 2 + 8;
/// Longest record.
const RECORD_BYTES_MAX: usize = 512;

/// Such a file, open for appending.
#[derive(Debug)]
pub struct RollingFile {
    path: PathBuf,
    header: [u8; HEADER_BYTES],
    keep: usize,
    file: File,
    records: usize,
}

/// An opened file, and what was found in it.
#[derive(Debug)]
pub struct Rolled {
    pub file: RollingFile,
    /// Oldest first.
    pub records: Vec<Vec<u8>>,
    /// Why some or all of it was dropped.
    pub complaint: Option<String>,
}

impl RollingFile {
    /// Opens or creates the file, for records that `owner` wrote; it keeps at least the newest `keep` of them. Records that
    /// are damaged or belong to another owner are dropped and overwritten.
    ///
    /// # Errors
    /// The file can be neither read nor written.
    pub fn open(path: impl Into<PathBuf>, owner: &str, keep: usize) -> io::Result<Rolled> {
        let path = path.into();
        let header = header(owner);
        let (mut records, complaint) = match read(&path, bytes_max(keep)) {
            Ok(bytes) => parse(&bytes, &header, bytes_max(keep)),
            Err(error) if error.kind() == ErrorKind::NotFound => (Vec::new(), None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        records.drain(..records.len().saturating_sub(keep));
        let file = write_new(&path, &header, &records)?;
        let file = Self { path, header, keep, file, records: records.len() };
        Ok(Rolled { file, records, complaint })
    }

    /// Appends records. When there are more than twice as many as are kept, the oldest are dropped.
    ///
    /// # Errors
    /// The records were not written, or only in part; or one is too long.
    pub fn append(&mut self, records: &[Vec<u8>]) -> io::Result<()> {
        if self.records + records.len() > 2 * self.keep {
            let (mut kept, _) =
                parse(&read(&self.path, bytes_max(self.keep))?, &self.header, bytes_max(self.keep));
            kept.extend_from_slice(records);
            kept.drain(..kept.len().saturating_sub(self.keep));
            self.file = write_new(&self.path, &self.header, &kept)?;
            self.records = kept.len();
            return Ok(());
        }
        // In one call, so that a killed process leaves whole records.
        self.file.write_all(&framed(records)?)?;
        self.records += records.len();
        Ok(())
    }
}

fn header(owner: &str) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..].copy_from_slice(&xxh3_128(owner.as_bytes()).to_le_bytes());
    header
}

/// The most bytes that a file can have.
fn bytes_max(keep: usize) -> u64 {
    (HEADER_BYTES + 2 * keep * (FRAME_BYTES + RECORD_BYTES_MAX)) as u64
}

/// Reads at most one byte more than `max`, which shows that the file is too long.
fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    // A pipe or a device may have no end, and may block its reader.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The records up to the first one that is damaged, and what is wrong.
fn parse(bytes: &[u8], header: &[u8; HEADER_BYTES], max: u64) -> (Vec<Vec<u8>>, Option<String>) {
    let mut records = Vec::new();
    if bytes.len() as u64 > max {
        return (records, Some(format!("it has more than {max} bytes")));
    }
    let Some(mut rest) = bytes.strip_prefix(header) else {
        return (records, Some("it was written by another node or version".into()));
    };
    while !rest.is_empty() {
        let Some((record, behind)) = next(rest) else {
            let complaint = format!("it is damaged after {} records", records.len());
            return (records, Some(complaint));
        };
        records.push(record.to_vec());
        rest = behind;
    }
    (records, None)
}

fn next(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (sum, rest) = rest.split_first_chunk::<8>()?;
    let (record, behind) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    (xxh3_64(record) == u64::from_le_bytes(*sum)).then_some((record, behind))
}

fn framed(records: &[Vec<u8>]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(records.iter().map(|record| FRAME_BYTES + record.len()).sum());
    for record in records {
        let length = u16::try_from(record.len()).ok().filter(|_| record.len() <= RECORD_BYTES_MAX);
        let length = length.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "a record is too long"))?;
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&xxh3_64(record).to_le_bytes());
        bytes.extend_from_slice(record);
    }
    Ok(bytes)
}

/// Replaces the file with a new one, which only its owner can read.
fn write_new(path: &Path, header: &[u8; HEADER_BYTES], records: &[Vec<u8>]) -> io::Result<File> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = File::options();
    options.append(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    file.write_all(&[&header[..], &framed(records)?].concat())?;
    fs::rename(&new, path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: &str = "me";

    fn record(number: usize) -> Vec<u8> {
        format!("record {number}").into_bytes()
    }

    fn numbered(range: std::ops::Range<usize>) -> Vec<Vec<u8>> {
        range.map(record).collect()
    }

    fn opened(path: &Path) -> Rolled {
        RollingFile::open(path, OWNER, 10).unwrap()
    }

    #[test]
    fn what_was_appended_is_there_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records");
        let mut first = opened(&path);
        assert_eq!((first.records.len(), first.complaint), (0, None));
        first.file.append(&numbered(0..3)).unwrap();
        first.file.append(&numbered(3..4)).unwrap();
        let again = opened(&path);
        assert_eq!((again.records, again.complaint), (numbered(0..4), None));
    }

    #[test]
    fn it_stays_short_and_keeps_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records");
        let mut file = opened(&path).file;
        for number in 0..1_000 {
            file.append(&[record(number)]).unwrap();
            assert!(fs::metadata(&path).unwrap().len() < 24 + 20 * 30, "after {number}");
        }
        assert_eq!(opened(&path).records, numbered(990..1_000));
        // More at once than are kept at all.
        opened(&path).file.append(&numbered(0..50)).unwrap();
        assert_eq!(opened(&path).records, numbered(40..50));
    }

    #[test]
    #[cfg(unix)]
    fn only_its_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records");
        fs::write(&path, "anything").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        drop(opened(&path));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_damaged_or_foreign_is_left_out_with_a_word() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records");
        let whole = {
            opened(&path).file.append(&numbered(0..5)).unwrap();
            fs::read(&path).unwrap()
        };
        // Every cut, and every byte that is another: a beginning of what was written, or nothing.
        for end in 0..whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            let found = opened(&path);
            assert_eq!(found.records, numbered(0..found.records.len()), "cut at {end}");
            assert!(found.records.len() < 5, "cut at {end}");
        }
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            let found = opened(&path);
            assert_eq!(found.records, numbered(0..found.records.len()), "another byte at {place}");
            assert!(found.records.len() < 5 && found.complaint.is_some(), "another byte at {place}");
            assert_eq!(opened(&path).complaint, None, "it was made good");
        }
        fs::write(&path, &whole).unwrap();
        let foreign = RollingFile::open(&path, "another", 10).unwrap();
        assert!(foreign.records.is_empty() && foreign.complaint.unwrap().contains("another node"));
        fs::write(&path, vec![7; 1_000_000]).unwrap();
        assert!(opened(&path).complaint.unwrap().contains("more than"));
    }

    #[test]
    fn a_folder_in_its_place_is_an_error_and_no_panic() {
        let dir = tempfile::tempdir().unwrap();
        assert!(RollingFile::open(dir.path(), OWNER, 10).is_err());
    }
}
