//! Bits flip and files shrink: a damaged store is refused, or it is not damaged in anything that counts.
//!
//! The normal run takes a sample with a random offset; `LOCKSTEP_FULL_DAMAGE=1` takes everything (minutes).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use lockstep::storage::{LogStore, OpenError};
use tempfile::TempDir;

use crate::support::{Held, Random, append, copy_folder, entry, folder, full_run, held, small, wait};

/// How a store ended: what it leaves in the journal differs.
#[derive(Debug, Clone, Copy)]
enum End {
    Closed,
    Killed,
}

/// A small store with something of everything.
struct Fixture {
    dir: TempDir,
    held: Held,
    files: Vec<PathBuf>,
}

fn fixtures() -> [Fixture; 2] {
    [fixture(End::Closed), fixture(End::Killed)]
}

fn fixture(end: End) -> Fixture {
    let mut dir = folder();
    let store = LogStore::open(dir.path(), small()).unwrap();
    store.save_identity(Bytes::from_static(b"node 2, cluster 77")).unwrap();
    wait(|done| store.save_vote(Bytes::from_static(b"term 9, node 2"), done)).unwrap();
    append(&store, (0..30).map(|index| (index, entry(index, 40))).collect()).unwrap();
    wait(|done| store.purge(12, Bytes::from_static(b"term 8, index 12"), done)).unwrap();
    drop(store);
    // Reopened once, so that sled's own checkpoint file is among those that are damaged.
    let store = LogStore::open(dir.path(), small()).unwrap();
    append(&store, vec![(30, entry(30, 600))]).unwrap();
    wait(|done| store.truncate_after(Some(28), done)).unwrap();
    store.save_committed(Bytes::from_static(b"term 9, index 28"));
    append(&store, (29..34).map(|index| (index, entry(index + 5, 30))).collect()).unwrap();
    let held = held(&store);
    if let End::Killed = end {
        let as_left = folder();
        copy_folder(dir.path(), as_left.path());
        drop(store);
        dir = as_left;
    } else {
        drop(store);
    }
    let mut files = Vec::new();
    list(dir.path(), Path::new(""), &mut files);
    files.sort();
    Fixture { dir, held, files }
}

fn list(root: &Path, at: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(root.join(at)).unwrap() {
        let entry = entry.unwrap();
        let path = at.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            list(root, &path, files);
        } else if path != Path::new("lock") {
            files.push(path);
        }
    }
}

#[derive(Debug, Default)]
struct Tally {
    identical: u64,
    refused: BTreeMap<String, u64>,
}

/// Opens a copy with one file replaced: the identical log, or a refusal that names the damage and that lasts.
fn judge(
    fixture: &Fixture,
    scratch: &Path,
    file: &Path,
    bytes: Option<&[u8]>,
    what: &str,
    tally: &mut Tally,
) {
    let dir = scratch.join("copy");
    copy_folder(fixture.dir.path(), &dir);
    match bytes {
        Some(bytes) => std::fs::write(dir.join(file), bytes).unwrap(),
        None => std::fs::remove_file(dir.join(file)).unwrap(),
    }
    match LogStore::open(&dir, small()) {
        Ok(store) => {
            assert!(held(&store) == fixture.held, "{what}: opened, but holds something else");
            tally.identical += 1;
        }
        Err(error) => {
            let kind = match &error {
                OpenError::Damaged { what, .. } => {
                    what.split(|char: char| char.is_ascii_digit()).next().unwrap().to_owned()
                }
                OpenError::Missing { file, .. } => {
                    format!("{} is missing", file.file_name().unwrap().display())
                }
                other => panic!("{what}: refused for another reason: {other}"),
            };
            *tally.refused.entry(kind).or_default() += 1;
            let text = error.to_string();
            assert!(
                text.contains(dir.to_str().unwrap()) && text.contains("under a new node id"),
                "{what}: {text}"
            );
            assert!(LogStore::open(&dir, small()).is_err(), "{what}: refused once, then opened");
        }
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

/// S1
#[test]
fn damaged_store_is_refused_never_shortened() {
    let mut random = Random::new("bit flips");
    let (fixtures, scratch) = (fixtures(), folder());
    let files = fixtures.iter().flat_map(|fixture| fixture.files.iter().map(move |file| (fixture, file)));
    for (fixture, file) in files {
        let whole = std::fs::read(fixture.dir.path().join(file)).unwrap();
        let bits = whole.len() as u64 * 8;
        let stride = if full_run() { 1 } else { 1 + bits / 400 };
        let (mut tally, mut bit) = (Tally::default(), random.below(stride));
        while bit < bits {
            let mut damaged = whole.clone();
            damaged[bit as usize / 8] ^= 1 << (bit % 8);
            let what = format!("{}, bit {bit}", file.display());
            judge(fixture, scratch.path(), file, Some(&damaged), &what, &mut tally);
            bit += stride;
        }
        println!("flips in {} ({} bytes, stride {stride}): {tally:#?}", file.display(), whole.len());
    }
}

/// S1
#[test]
fn a_shortened_file_is_refused_or_changes_nothing() {
    let mut random = Random::new("truncations");
    let (fixtures, scratch) = (fixtures(), folder());
    let files = fixtures.iter().flat_map(|fixture| fixture.files.iter().map(move |file| (fixture, file)));
    for (fixture, file) in files {
        let whole = std::fs::read(fixture.dir.path().join(file)).unwrap();
        let stride = if full_run() { 1 } else { 1 + whole.len() as u64 / 200 };
        let (mut tally, mut len) = (Tally::default(), random.below(stride));
        while len < whole.len() as u64 {
            let what = format!("{}, first {len} bytes", file.display());
            judge(fixture, scratch.path(), file, Some(&whole[..len as usize]), &what, &mut tally);
            len += stride;
        }
        println!("cuts of {} ({} bytes, stride {stride}): {tally:#?}", file.display(), whole.len());
    }
}

/// S1
#[test]
fn a_missing_file_is_refused_or_changes_nothing() {
    let (fixtures, scratch) = (fixtures(), folder());
    let files = fixtures.iter().flat_map(|fixture| fixture.files.iter().map(move |file| (fixture, file)));
    for (fixture, file) in files {
        let mut tally = Tally::default();
        judge(fixture, scratch.path(), file, None, &format!("{} removed", file.display()), &mut tally);
        println!("{} removed: {tally:?}", file.display());
    }
    let dir = scratch.path().join("copy");
    copy_folder(fixtures[0].dir.path(), &dir);
    std::fs::remove_dir_all(dir.join("sled")).unwrap();
    let error = LogStore::open(&dir, small()).err().unwrap();
    assert!(matches!(error, OpenError::Missing { .. }), "{error}");
    assert!(!dir.join("sled").exists(), "a refused open must not make things worse");
}

/// A crash while the store is created leaves nothing that would be refused later.
#[test]
fn an_interrupted_creation_is_repeated() {
    let dir = folder();
    std::fs::create_dir_all(dir.path().join("sled.new/blobs")).unwrap();
    std::fs::write(dir.path().join("sled.new/db"), b"half").unwrap();
    drop(LogStore::open(dir.path(), small()).unwrap());
    // Created, but the watermark file did not make it.
    std::fs::remove_file(dir.path().join("watermark")).unwrap();
    let store = LogStore::open(dir.path(), small()).unwrap();
    append(&store, vec![(0, Bytes::new())]).unwrap();
    drop(store);
    std::fs::remove_file(dir.path().join("watermark")).unwrap();
    let error = LogStore::open(dir.path(), small()).err().unwrap().to_string();
    assert!(error.contains("watermark is missing"), "{error}");
}
