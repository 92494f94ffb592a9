//! Snapshot files are whole, or refused.

use std::io::{Read, Write};
use std::path::Path;

use lockstep::storage::{OpenError, SnapshotFile, Snapshots, StorageError, verify_file};

use crate::support::{Random, folder};

fn body(file: &SnapshotFile) -> Vec<u8> {
    let mut body = Vec::new();
    file.body().read_to_end(&mut body).unwrap();
    body
}

fn raw(file: &SnapshotFile, chunk: usize) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let bytes = file.raw_chunk(all.len() as u64, chunk).unwrap();
        if bytes.is_empty() {
            return all;
        }
        all.extend_from_slice(&bytes);
    }
}

fn small_file(dir: &Path) -> Vec<u8> {
    let snapshots = Snapshots::open(dir).unwrap();
    let file = snapshots
        .write(41, b"term 3, index 41", |out| out.write_all(b"the whole state of the cache"))
        .unwrap();
    raw(&file, 7)
}

#[test]
fn what_is_written_is_read_back_also_after_a_reopen() {
    let mut random = Random::new("snapshot bodies");
    for len in [0, 1, 262_143, 262_144, 262_145, 700_000] {
        let dir = folder();
        let snapshots = Snapshots::open(dir.path()).unwrap();
        assert!(snapshots.current().is_none());
        let content: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        let write = |out: &mut dyn Write| content.chunks(10_007).try_for_each(|part| out.write_all(part));
        let file = snapshots.write(5, b"meta", write).unwrap();
        assert_eq!((file.index, &file.meta[..], body(&file) == content), (5, &b"meta"[..], true));
        let info = verify_file(&file.path).unwrap();
        assert_eq!((info.index, info.body_bytes, info.file_bytes), (5, len as u64, file.bytes));
        drop(snapshots);
        let file = Snapshots::open(dir.path()).unwrap().current().unwrap();
        assert!(body(&file) == content);
    }
}

#[test]
fn a_replaced_file_stays_readable_through_old_handles() {
    let dir = folder();
    let snapshots = Snapshots::open(dir.path()).unwrap();
    let old = snapshots.write(1, b"1", |out| out.write_all(b"first")).unwrap();
    let mut half_read = old.body();
    let mut start = [0; 2];
    half_read.read_exact(&mut start).unwrap();
    let new = snapshots.write(2, b"2", |out| out.write_all(b"second")).unwrap();
    assert_eq!((body(&old), body(&new)), (b"first".to_vec(), b"second".to_vec()));
    assert_eq!(raw(&old, 1_000).len() as u64, old.bytes);
    let mut rest = String::new();
    half_read.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "rst");
    assert_eq!(snapshots.current().unwrap().index, 2);
}

#[test]
fn a_peer_receives_the_same_file() {
    let (here, there) = (folder(), folder());
    let sender = Snapshots::open(here.path()).unwrap();
    let file = sender.write(9, b"m", |out| out.write_all(&[7; 600_000])).unwrap();
    let receiver = Snapshots::open(there.path()).unwrap();
    let mut receiving = receiver.receive().unwrap();
    let mut at = 0;
    while at < file.bytes {
        let chunk = file.raw_chunk(at, 50_000).unwrap();
        receiving.write(&chunk).unwrap();
        at += chunk.len() as u64;
    }
    let received = receiving.finish().unwrap();
    assert!(receiver.current().is_none(), "received, not yet current");
    assert_eq!((received.index(), &received.meta()[..]), (9, &b"m"[..]));
    let installed = receiver.install(received).unwrap();
    assert_eq!(raw(&installed, 1 << 20), raw(&file, 1 << 20));
    // An older one that was slow to be built must not replace it.
    let error = receiver.write(8, b"", |_| Ok(())).unwrap_err();
    assert!(matches!(error, StorageError::Superseded { index: 8, current: 9 }), "{error}");
    assert_eq!(receiver.current().unwrap().index, 9);
}

#[test]
fn unfinished_files_are_removed() {
    let dir = folder();
    let snapshots = Snapshots::open(dir.path()).unwrap();
    snapshots.write(3, b"", |out| out.write_all(b"kept")).unwrap();
    let mut receiving = snapshots.receive().unwrap();
    receiving.write(b"half a fi").unwrap();
    // As after a crash: the name stays.
    std::mem::forget(receiving);
    drop(snapshots);
    std::fs::write(dir.path().join("77.unfinished"), b"LSSNAP").unwrap();
    let snapshots = Snapshots::open(dir.path());
    // The forgotten handle does not hold the folder, only its file.
    let snapshots = snapshots.unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "the lock and the snapshot");
    assert_eq!(snapshots.current().unwrap().index, 3);
    drop(snapshots.receive().unwrap());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

/// Neither opened as current, nor accepted from a peer, nor verified as a backup.
fn assert_refused(dir: &Path, bytes: &[u8], what: &str) {
    let path = dir.join("current.snapshot");
    std::fs::write(&path, bytes).unwrap();
    let error = Snapshots::open(dir).err().unwrap_or_else(|| panic!("{what} was accepted"));
    assert!(matches!(error, OpenError::Damaged { .. }), "{what}: {error}");
    assert!(error.to_string().contains("current.snapshot is damaged: "), "{what}: {error}");
    // Who opens it unread learns of it at the latest when the body has been read.
    let unread = Snapshots::open_unread(dir).map(|snapshots| snapshots.current().expect("it is there"));
    let read = unread.map_err(|error| error.to_string()).and_then(|file| {
        let (mut body, mut rest) = (file.body(), Vec::new());
        let read = std::io::copy(&mut body, &mut std::io::sink());
        // Whoever reads on gets nothing of what was refused.
        let _ = body.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{what}: {rest:?}");
        read.map_err(|error| file.refused(&error).to_string())
    });
    let error = read.err().unwrap_or_else(|| panic!("{what} was read to its end"));
    assert!(
        error.contains("current.snapshot is damaged: ") && error.contains("new node id"),
        "{what}: {error}"
    );
    let error = verify_file(&path).err().unwrap_or_else(|| panic!("{what} was accepted as a backup"));
    assert!(matches!(error, OpenError::Backup { .. }), "{what}: {error}");
    assert!(error.to_string().contains("current.snapshot is damaged"), "{what}: {error}");
    std::fs::remove_file(&path).unwrap();
    let snapshots = Snapshots::open(dir).unwrap();
    let mut receiving = snapshots.receive().unwrap();
    receiving.write(bytes).unwrap();
    let error = receiving.finish().unwrap_err();
    assert!(matches!(error, StorageError::Damaged { .. }), "{what}: {error}");
}

/// S3
#[test]
fn snapshot_is_whole_or_refused() {
    let dir = folder();
    let whole = small_file(dir.path());
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_refused(dir.path(), &damaged, &format!("bit {bit}"));
    }
    for len in 0..whole.len() {
        assert_refused(dir.path(), &whole[..len], &format!("{len} bytes"));
    }
    assert_refused(dir.path(), &[&whole[..], b"x"].concat(), "a longer file");
    println!("{} flips, {} cuts, all refused", whole.len() * 8, whole.len());
}

/// S3: bytes from anywhere neither panic nor take memory.
#[test]
fn hostile_files_are_refused() {
    let mut random = Random::new("hostile snapshots");
    let dir = folder();
    let whole = small_file(dir.path());
    for round in 0..300 {
        let mut bytes = whole.clone();
        for _ in 0..1 + random.below(6) {
            let at = random.below(bytes.len() as u64) as usize;
            match random.below(4) {
                0 => bytes[at] = random.next() as u8,
                1 => bytes.truncate(at.max(1)),
                2 => bytes.insert(at, 255),
                _ => bytes[at..].iter_mut().take(4).for_each(|byte| *byte = 255),
            }
        }
        if bytes != whole {
            assert_refused(dir.path(), &bytes, &format!("round {round}"));
        }
    }
}
