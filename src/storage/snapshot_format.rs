//! The bytes of a snapshot file. Backups use the same format.
//!
//! ```text
//! header   magic (8) | format u32 | index u64 | meta length u32 | meta | crc32 of all that
//! blocks   length u32, 1 to 256 KiB | crc32 of block number and bytes | bytes
//! footer   0 u32 | body bytes u64 | blocks u64 | xxh3-128 of the body | crc32 of the header and the footer so far
//! ```
//!
//! Integers are little-endian. The file ends right after the footer. A reader never trusts a length: what it
//! allocates is bounded by constants here.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

const MAGIC: &[u8; 8] = b"LSSNAP\r\n";
const FORMAT: u32 = 1;
const FIXED: usize = 24;
const FOOTER: usize = 40;
/// The most bytes of metadata.
const MAX_META: usize = 1 << 20;
/// The most bytes in a block.
const MAX_BLOCK: usize = 256 << 10;

/// What the header and footer of a verified file say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotMetaInfo {
    /// The last log index that the snapshot contains.
    pub index: u64,
    /// What its writer recorded with it.
    pub meta: Bytes,
    /// Bytes of the body.
    pub body_bytes: u64,
    /// Bytes of the whole file.
    pub file_bytes: u64,
}

/// Writes a file: header, then the body as blocks, then the footer with [`finish`](Self::finish).
pub(super) struct Encoder<W> {
    out: W,
    block: Vec<u8>,
    blocks: u64,
    body_bytes: u64,
    body_hash: Xxh3,
    header_crc: u32,
}

impl<W: Write> Encoder<W> {
    pub(super) fn new(mut out: W, index: u64, meta: &[u8]) -> io::Result<Encoder<W>> {
        if meta.len() > MAX_META {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the snapshot's metadata is too large"));
        }
        let mut header = Vec::with_capacity(FIXED + meta.len() + 4);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&FORMAT.to_le_bytes());
        header.extend_from_slice(&index.to_le_bytes());
        header.extend_from_slice(&(meta.len() as u32).to_le_bytes());
        header.extend_from_slice(meta);
        let header_crc = crc32fast::hash(&header);
        header.extend_from_slice(&header_crc.to_le_bytes());
        out.write_all(&header)?;
        let block = Vec::with_capacity(MAX_BLOCK);
        Ok(Encoder { out, block, blocks: 0, body_bytes: 0, body_hash: Xxh3::new(), header_crc })
    }

    /// Writes the footer and returns the sink, flushed but not synced.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.write_block()?;
        let mut footer = Vec::with_capacity(FOOTER);
        footer.extend_from_slice(&0u32.to_le_bytes());
        footer.extend_from_slice(&self.body_bytes.to_le_bytes());
        footer.extend_from_slice(&self.blocks.to_le_bytes());
        footer.extend_from_slice(&self.body_hash.digest128().to_le_bytes());
        let crc = footer_crc(self.header_crc, &footer);
        footer.extend_from_slice(&crc.to_le_bytes());
        self.out.write_all(&footer)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn write_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        self.out.write_all(&(self.block.len() as u32).to_le_bytes())?;
        self.out.write_all(&block_crc(self.blocks, &self.block).to_le_bytes())?;
        self.out.write_all(&self.block)?;
        self.blocks += 1;
        self.body_bytes += self.block.len() as u64;
        self.body_hash.update(&self.block);
        self.block.clear();
        Ok(())
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = bytes.len().min(MAX_BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..fits]);
        if self.block.len() == MAX_BLOCK {
            self.write_block()?;
        }
        Ok(fits)
    }

    /// Does nothing: blocks are split by size only, so that equal bodies make equal files.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The body of a snapshot as a stream. Every block is checked before its bytes are handed out, and the whole at the
/// end; damage is an error of kind `InvalidData`.
#[derive(Debug)]
pub struct SnapshotBody {
    file: FileAt,
    /// Read together with the first block.
    header: Option<Header>,
    /// What was read last, and how much of it was handed out.
    block: Vec<u8>,
    used: usize,
    blocks: u64,
    body_bytes: u64,
    body_hash: Box<Hasher>,
    done: bool,
}

struct Hasher(Xxh3);

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hasher")
    }
}

impl SnapshotBody {
    /// The body of `file`, which stays open as long as this lives.
    pub(super) fn new(file: Arc<File>) -> SnapshotBody {
        SnapshotBody {
            file: FileAt { file, at: 0 },
            header: None,
            block: Vec::new(),
            used: 0,
            blocks: 0,
            body_bytes: 0,
            body_hash: Box::new(Hasher(Xxh3::new())),
            done: false,
        }
    }

    /// Reads whatever is left, so that every byte of the file was checked, and says what it holds.
    pub(super) fn verify(mut self) -> io::Result<SnapshotMetaInfo> {
        while !self.done {
            self.next_block()?;
        }
        let header = self.header.expect("read before the first block");
        Ok(SnapshotMetaInfo {
            index: header.index,
            meta: header.meta,
            body_bytes: self.body_bytes,
            file_bytes: self.file.at,
        })
    }

    /// Reads header and footer only, which have checksums of their own, and says what the file holds.
    pub(super) fn ends(mut self) -> io::Result<SnapshotMetaInfo> {
        let header = Header::read(&mut self.file)?;
        let file_bytes = self.file.file.metadata()?.len();
        let footer_at = file_bytes.checked_sub(FOOTER as u64).filter(|at| *at >= self.file.at);
        self.file.at = footer_at.ok_or_else(|| damaged("it ends inside the header".into()))?;
        let footer: [u8; FOOTER] = self.file.array(|| "it ends inside the footer".into())?;
        let (content, crc) = footer.split_last_chunk::<4>().expect("fixed size");
        if footer_crc(header.crc, content) != u32::from_le_bytes(*crc) {
            return Err(damaged("its footer does not match its header".into()));
        }
        let body_bytes = content[4..].first_chunk().copied().map_or(0, u64::from_le_bytes);
        Ok(SnapshotMetaInfo { index: header.index, meta: header.meta, body_bytes, file_bytes })
    }

    fn next_block(&mut self) -> io::Result<()> {
        let header_crc = match &self.header {
            Some(header) => header.crc,
            None => self.header.insert(Header::read(&mut self.file)?).crc,
        };
        let number = self.blocks;
        let len = u32::from_le_bytes(self.file.array(|| format!("it ends after block {number}"))?) as usize;
        if len == 0 {
            self.done = true;
            return self.check_footer(header_crc);
        }
        if len > MAX_BLOCK {
            return Err(damaged(format!("block {number} has an impossible length")));
        }
        let crc = u32::from_le_bytes(self.file.array(|| format!("it ends inside block {number}"))?);
        // What is not checked is not handed out, also after an error.
        self.used = len;
        self.block.resize(len, 0);
        self.file.fill(&mut self.block, || format!("it ends inside block {number}"))?;
        if block_crc(number, &self.block) != crc {
            return Err(damaged(format!("block {number} does not match its checksum")));
        }
        self.blocks += 1;
        self.body_bytes += len as u64;
        self.body_hash.0.update(&self.block);
        self.used = 0;
        Ok(())
    }

    fn check_footer(&mut self, header_crc: u32) -> io::Result<()> {
        let rest: [u8; FOOTER - 4] = self.file.array(|| "it ends inside the footer".into())?;
        let mut footer = Vec::with_capacity(FOOTER - 4);
        footer.extend_from_slice(&0u32.to_le_bytes());
        footer.extend_from_slice(&self.body_bytes.to_le_bytes());
        footer.extend_from_slice(&self.blocks.to_le_bytes());
        footer.extend_from_slice(&self.body_hash.0.digest128().to_le_bytes());
        let crc = footer_crc(header_crc, &footer);
        footer.extend_from_slice(&crc.to_le_bytes());
        if footer[4..] != rest {
            return Err(damaged("its footer does not match what precedes it".into()));
        }
        let mut extra = [0];
        match self.file.read(&mut extra)? {
            0 => Ok(()),
            _ => Err(damaged("it goes on after its end".into())),
        }
    }
}

impl Read for SnapshotBody {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = self.fill_buf()?.read(into)?;
        self.consume(len);
        Ok(len)
    }
}

impl BufRead for SnapshotBody {
    #[inline]
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.used >= self.block.len() && !self.done {
            self.next_block()?;
        }
        Ok(&self.block[self.used..])
    }

    #[inline]
    fn consume(&mut self, amount: usize) {
        self.used += amount;
    }
}

#[derive(Debug)]
struct Header {
    index: u64,
    meta: Bytes,
    crc: u32,
}

impl Header {
    fn read(file: &mut FileAt) -> io::Result<Header> {
        let short = || "it ends inside the header".to_owned();
        let fixed: [u8; FIXED] = file.array(short)?;
        let (magic, rest) = fixed.split_first_chunk::<8>().expect("fixed size");
        if magic != MAGIC {
            return Err(damaged("it does not start like a snapshot".into()));
        }
        let (format, rest) = rest.split_first_chunk::<4>().expect("fixed size");
        let (index, len) = rest.split_first_chunk::<8>().expect("fixed size");
        let len = u32::from_le_bytes(len.try_into().expect("fixed size")) as usize;
        if len > MAX_META {
            return Err(damaged("its header has an impossible length".into()));
        }
        let meta = file.exactly(len, short)?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&fixed);
        hasher.update(&meta);
        let crc = hasher.finalize();
        if file.array(short)? != crc.to_le_bytes() {
            return Err(damaged("its header does not match its checksum".into()));
        }
        match u32::from_le_bytes(*format) {
            FORMAT => Ok(Header { index: u64::from_le_bytes(*index), meta: meta.into(), crc }),
            other => Err(damaged(format!("it has snapshot format {other}, this program reads {FORMAT}"))),
        }
    }
}

/// Reads a shared file from a position of its own, so that several readers do not disturb each other.
#[derive(Debug)]
struct FileAt {
    file: Arc<File>,
    at: u64,
}

impl FileAt {
    fn array<const N: usize>(&mut self, short: impl FnOnce() -> String) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, short)?;
        Ok(bytes)
    }

    fn exactly(&mut self, len: usize, short: impl FnOnce() -> String) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes, short)?;
        Ok(bytes)
    }

    fn fill(&mut self, into: &mut [u8], short: impl FnOnce() -> String) -> io::Result<()> {
        match self.read_exact(into) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(damaged(short())),
            other => other,
        }
    }
}

impl Read for FileAt {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Covers the block's number, so that swapped and repeated blocks are noticed.
fn block_crc(number: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// Covers the header's checksum, so that a header and a body of different files are noticed.
fn footer_crc(header: u32, footer: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header.to_le_bytes());
    hasher.update(footer);
    hasher.finalize()
}

fn damaged(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
