//! Simulated power cuts: nothing acknowledged is lost, nothing unacknowledged is invented.
//!
//! Between two syncs of the journal's or the database's file, the 512-byte sectors that differ are exactly what a power
//! cut may keep, lose or reorder. The test builds such files from a recorded run and opens them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use lockstep::storage::{Engine, LogStore, LogStoreBuilder, Mutation};
use tempfile::TempDir;

use crate::support::{Held, Random, append, copy_folder, entry, folder, full_run, held, small, wait};

const SECTOR: usize = 512;

/// The database's file.
const DATABASE: &str = "sled/db";

/// The files that change while a store runs, but for the watermark, and their content at one moment between two syncs:
/// the database's, and the journal's.
type Picture = BTreeMap<String, Arc<Vec<u8>>>;

fn picture(dir: &Path) -> Picture {
    let names =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let journal = names.filter(|name| name.starts_with("journal."));
    let files = journal.chain([DATABASE.to_owned()]);
    files.map(|file| (file.clone(), Arc::new(std::fs::read(dir.join(file)).unwrap()))).collect()
}

/// A file that a sync changed: its name, and its content before and after.
type Changed = (String, Arc<Vec<u8>>, Arc<Vec<u8>>);

/// The files that a sync changed. A file of the journal is full of durable zeros before it is written for the first time.
fn changed(before: &Picture, after: &Picture) -> Vec<Changed> {
    let pair = |(name, now): (&String, &Arc<Vec<u8>>)| {
        let old = before.get(name).cloned().unwrap_or_else(|| Arc::new(vec![0; now.len()]));
        (old != *now).then(|| (name.clone(), old, now.clone()))
    };
    let changed: Vec<_> = after.iter().filter_map(pair).collect();
    let in_database = changed.iter().any(|(name, ..)| name == DATABASE);
    assert!(!in_database || changed.len() == 1, "a sync is of one file");
    changed
}

/// What a power cut during the sync between two pictures leaves.
fn cut_between(random: &mut Random, cut: Cut, before: &Picture, after: &Picture) -> Picture {
    let mut files = before.clone();
    for (name, old, new) in changed(before, after) {
        files.insert(name, Arc::new(torn(random, cut, &old, &new)));
    }
    files
}

fn is_of_database(before: &Picture, after: &Picture) -> bool {
    before[DATABASE] != after[DATABASE]
}

/// What was durable after a flush, and on the way there: after each sync, oldest first.
#[derive(Debug, Clone)]
struct Durable {
    pictures: Vec<Picture>,
    watermark: Vec<u8>,
    held: Held,
}

impl Durable {
    fn end(&self) -> &Picture {
        self.pictures.last().unwrap()
    }
}

/// Takes a picture before each write and after each flush.
struct Recorder {
    inner: Arc<dyn Engine>,
    dir: PathBuf,
    pictures: Arc<Mutex<Vec<Picture>>>,
}

impl Recorder {
    fn take(&self) {
        self.pictures.lock().unwrap().push(picture(&self.dir));
    }
}

impl Engine for Recorder {
    fn apply(&self, changes: Vec<Mutation>) -> std::io::Result<()> {
        self.take();
        self.inner.apply(changes)
    }
    fn flush(&self) -> std::io::Result<()> {
        self.inner.flush()?;
        self.take();
        Ok(())
    }
    fn get(&self, key: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
        self.inner.get(key)
    }
    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> std::io::Result<()> {
        self.inner.scan(visit)
    }
}

/// A run in which every step is one flush, with the whole store after each.
struct Recording {
    dir: TempDir,
    history: Vec<Durable>,
}

fn record(random: &mut Random, steps: usize) -> Recording {
    let dir = folder();
    drop(LogStore::open(dir.path(), small()).unwrap());
    let pictures = Arc::new(Mutex::new(Vec::new()));
    let recorder = || {
        let (dir, pictures) = (dir.path().to_owned(), pictures.clone());
        move |inner| Arc::new(Recorder { inner, dir, pictures }) as Arc<dyn Engine>
    };
    let store = LogStoreBuilder::new(small())
        .wrap_database(recorder())
        .wrap_journal(recorder())
        .open(dir.path())
        .unwrap();
    pictures.lock().unwrap().clear();
    // The other files of the folder do not change any more, except the watermark.
    let still = folder();
    copy_folder(dir.path(), still.path());
    let watermark = || std::fs::read(dir.path().join("watermark")).unwrap();
    let first = Durable { pictures: vec![picture(dir.path())], watermark: watermark(), held: held(&store) };
    let mut history = vec![first];
    while history.len() <= steps {
        step(random, &store);
        let pictures = std::mem::take(&mut *pictures.lock().unwrap());
        history.push(Durable { pictures, watermark: watermark(), held: held(&store) });
    }
    Recording { dir: still, history }
}

fn step(random: &mut Random, store: &LogStore) {
    let log = store.state();
    if random.chance(30) {
        store.save_committed(entry(random.next(), 12));
    }
    match random.below(10) {
        0 => wait(|done| store.save_vote(entry(random.next(), 16), done)).unwrap(),
        1 => {
            let after = log.end().saturating_sub(1 + random.below(12)).max(log.first_index);
            wait(|done| store.truncate_after(Some(after), done)).unwrap();
        }
        2 | 3 if log.end() > log.first_index + 30 => {
            let index = log.first_index + random.below(log.end() - log.first_index - 10);
            wait(|done| store.purge(index, entry(index, 16), done)).unwrap();
        }
        _ => {
            // Up to one flush of entries, sometimes a single entry larger than a record.
            let large = [1_800, small().segment_bytes][random.below(2) as usize];
            let (count, len) = if random.chance(15) {
                (1, large)
            } else {
                (1 + random.below(12), random.below(160) as usize)
            };
            let entries = (log.end()..log.end() + count).map(|index| (index, entry(random.next(), len)));
            append(store, entries.collect()).unwrap();
        }
    }
}

/// How a cut treats the sectors that were written but not synced.
#[derive(Debug, Clone, Copy)]
enum Cut {
    LoseAll,
    /// Each sector survives with this chance in percent.
    Keep(u64),
    /// All sectors before a random one survive.
    Prefix,
    /// All sectors after a random one survive.
    Suffix,
    /// One sector is lost.
    LoseOne,
    KeepAll,
}

fn torn(random: &mut Random, cut: Cut, before: &[u8], after: &[u8]) -> Vec<u8> {
    let sectors = after.len().max(before.len()).div_ceil(SECTOR);
    fn sector(bytes: &[u8], number: usize) -> Vec<u8> {
        let end = bytes.len().min((number + 1) * SECTOR);
        let mut sector = bytes.get(number * SECTOR..end).unwrap_or_default().to_vec();
        sector.resize(SECTOR, 0);
        sector
    }
    let changed: Vec<usize> =
        (0..sectors).filter(|number| sector(before, *number) != sector(after, *number)).collect();
    let pivot = random.below(changed.len().max(1) as u64) as usize;
    // The new length of the file is metadata and may be lost as well.
    let long = matches!(cut, Cut::KeepAll) || random.chance(70);
    let mut image = before.to_vec();
    image.resize(if long { after.len() } else { before.len() }, 0);
    for (position, number) in changed.into_iter().enumerate() {
        let keep = match cut {
            Cut::LoseAll => false,
            Cut::Keep(percent) => random.chance(percent),
            Cut::Prefix => position < pivot,
            Cut::Suffix => position > pivot,
            Cut::LoseOne => position != pivot,
            Cut::KeepAll => true,
        };
        let range = number * SECTOR..((number + 1) * SECTOR).min(image.len());
        if keep && !range.is_empty() {
            let len = range.len();
            image[range].copy_from_slice(&sector(after, number)[..len]);
        }
    }
    image
}

/// The watermark's two slots as they were at any two moments up to `newest`.
fn lagging_watermark(random: &mut Random, history: &[Durable], newest: usize) -> Vec<u8> {
    let mut slot = || &history[random.below(newest as u64 + 1) as usize].watermark;
    let (first, second) = (slot(), slot());
    [&first[..4096], &second[4096..]].concat()
}

fn image(folder: &Path, picture: &Picture, watermark: &[u8]) {
    for file in self::picture(folder).keys().filter(|file| !picture.contains_key(*file)) {
        std::fs::remove_file(folder.join(file)).unwrap();
    }
    for (file, content) in picture {
        std::fs::write(folder.join(file), &**content).unwrap();
    }
    std::fs::write(folder.join("watermark"), watermark).unwrap();
}

/// Opens the image of a cut during flush `at` and returns whether that flush survived.
fn check(recording: &Recording, at: usize, picture: &Picture, watermark: &[u8], what: &str) -> bool {
    let dir = folder();
    copy_folder(recording.dir.path(), dir.path());
    image(dir.path(), picture, watermark);
    let store =
        LogStore::open(dir.path(), small()).unwrap_or_else(|error| panic!("{what}: refused: {error}"));
    let found = held(&store);
    let (before, after) = (&recording.history[at - 1].held, &recording.history[at].held);
    assert!(found == *before || found == *after, "{what}: neither the acknowledged log nor one more flush");
    // And it goes on from there.
    let next = found.log.end();
    append(&store, vec![(next, Bytes::from_static(b"after the cut"))]).unwrap();
    let continued = held(&store);
    drop(store);
    assert_eq!(held(&LogStore::open(dir.path(), small()).unwrap()), continued, "{what}: second start");
    found == *after
}

/// R2, S1: after a power cut the log holds all that was acknowledged, and nothing that is half written.
#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let mut random = Random::new("power cuts");
    let (runs, steps, per_flush) = if full_run() { (10, 120, 12) } else { (1, 90, 4) };
    let (mut images, mut survived, mut stages) = (0, 0, [0; 2]);
    for run in 0..runs {
        let recording = record(&mut random, steps);
        for at in 1..recording.history.len() {
            // Each sync on the way from the end of the flush before.
            let before = std::iter::once(recording.history[at - 1].end());
            let syncs = before.chain(&recording.history[at].pictures).zip(&recording.history[at].pictures);
            for (stage, (before, after)) in syncs.filter(|(before, after)| before != after).enumerate() {
                stages[usize::from(is_of_database(before, after))] += 1;
                for variant in 0..per_flush {
                    let cut = match (at + variant) % 8 {
                        0 => Cut::LoseAll,
                        1 => Cut::Keep(50),
                        2 => Cut::Prefix,
                        3 => Cut::LoseOne,
                        4 => Cut::Keep(90),
                        5 => Cut::Suffix,
                        6 => Cut::Keep(10),
                        _ => Cut::KeepAll,
                    };
                    let files = cut_between(&mut random, cut, before, after);
                    let watermark = lagging_watermark(&mut random, &recording.history, at - 1);
                    let what = format!("run {run}, flush {at}, sync {stage}, {cut:?}");
                    survived += usize::from(check(&recording, at, &files, &watermark, &what));
                    images += 1;
                }
            }
            // Once acknowledged, with the newest watermark, it is there.
            let durable = &recording.history[at];
            assert!(check(&recording, at, durable.end(), &durable.watermark, "acknowledged"), "flush {at}");
        }
    }
    assert!(stages.iter().all(|&stage| stage > 0), "journal and database were both cut: {stages:?}");
    println!("{images} cuts during a flush, which survived whole in {survived}");
}

/// S1: a database that went back in time, though whole in itself, is behind its watermark.
#[test]
fn an_older_database_is_refused() {
    let mut random = Random::new("older database");
    let recording = record(&mut random, 20);
    for at in 1..recording.history.len() {
        let dir = folder();
        copy_folder(recording.dir.path(), dir.path());
        image(dir.path(), recording.history[at - 1].end(), &recording.history[at].watermark);
        for _ in 0..2 {
            let error = LogStore::open(dir.path(), small()).err().expect("refused").to_string();
            assert!(error.contains("acknowledged records have vanished"), "{error}");
            assert!(error.contains("join the cluster again under a new node id"), "{error}");
        }
    }
}

/// One life after another in the same folder, each ended by a cut: what one left torn in the journal lies there in the
/// next ones, and must never be taken for theirs.
#[test]
fn lives_that_all_end_in_power_cuts() {
    const CUTS: [Cut; 8] = [
        Cut::LoseAll,
        Cut::Keep(10),
        Cut::Keep(50),
        Cut::Keep(90),
        Cut::Prefix,
        Cut::Suffix,
        Cut::LoseOne,
        Cut::KeepAll,
    ];
    let mut random = Random::new("lives");
    let mut dir = folder();
    drop(LogStore::open(dir.path(), small()).unwrap());
    let (mut cut_in_sled, mut survived) = (0, 0);
    for life in 0..if full_run() { 3_000 } else { 150 } {
        let pictures = Arc::new(Mutex::new(Vec::new()));
        let recorder = || {
            let (dir, pictures) = (dir.path().to_owned(), pictures.clone());
            move |inner| Arc::new(Recorder { inner, dir, pictures }) as Arc<dyn Engine>
        };
        let store = LogStoreBuilder::new(small())
            .wrap_database(recorder())
            .wrap_journal(recorder())
            .open(dir.path())
            .unwrap_or_else(|error| panic!("life {life}: {error}"));
        pictures.lock().unwrap().clear();
        let still = folder();
        copy_folder(dir.path(), still.path());
        let watermark = || std::fs::read(dir.path().join("watermark")).unwrap();
        let first =
            Durable { pictures: vec![picture(dir.path())], watermark: watermark(), held: held(&store) };
        let mut history = vec![first];
        for _ in 0..1 + random.below(9) {
            // Few sizes, so that batches end where those of earlier lives ended.
            if random.chance(60) {
                let len = [0, 40, 40, 300][random.below(4) as usize];
                append(&store, vec![(store.state().end(), entry(random.next(), len))]).unwrap();
            } else {
                step(&mut random, &store);
            }
            let pictures = std::mem::take(&mut *pictures.lock().unwrap());
            history.push(Durable { pictures, watermark: watermark(), held: held(&store) });
        }
        // The cut comes in one of the syncs of the last flush.
        let [.., last, newest] = &history[..] else { unreachable!("two at least") };
        let syncs = std::iter::once(last.end()).chain(&newest.pictures).zip(&newest.pictures);
        let syncs: Vec<_> = syncs.filter(|(before, after)| before != after).collect();
        let (before, after) = syncs[random.below(syncs.len() as u64) as usize];
        let cut = CUTS[random.below(CUTS.len() as u64) as usize];
        let files = cut_between(&mut random, cut, before, after);
        cut_in_sled += u32::from(is_of_database(before, after));
        let mark = lagging_watermark(&mut random, &history, history.len() - 2);
        let next = folder();
        copy_folder(still.path(), next.path());
        image(next.path(), &files, &mark);
        drop(store);
        // A copy is looked at: opening is for the next life.
        let look = folder();
        copy_folder(next.path(), look.path());
        let opened = LogStore::open(look.path(), small())
            .unwrap_or_else(|error| panic!("life {life}, {cut:?}: refused: {error}"));
        let found = held(&opened);
        assert!(found == last.held || found == newest.held, "life {life}, {cut:?}: another state");
        survived += u32::from(found == newest.held);
        dir = next;
    }
    println!("{cut_in_sled} cuts while sled was written; {survived} last flushes survived");
    assert!(cut_in_sled > 0 && survived > 0, "too little happened");
}
