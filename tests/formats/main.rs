//! Data folders and snapshots of every version that was ever written are read for ever.
//!
//! `golden/` has a set of both for each. When a format gets a new version, `LOCKSTEP_GOLDEN=2 cargo test --test formats`
//! writes the next set; those of earlier versions are never written again.

mod folder;

use flate2::read::GzDecoder;
use lockstep::api::Consistency;
use lockstep::cache::{Cache, Command, Condition, Digest, Key, Op, Outcome, Ttl, Value};
use lockstep::lineage::INDEX_STEP;
use lockstep::node::{Node, NodeOptions, WriteRequest, restore_backup};

use lockstep::storage::{SnapshotFile, verify_file};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Where the node says that its peers find it: the identity has it, so that every test's node must say the same.
const PEER: &str = "golden.invalid:6000";
const SETS: [&str; 1] = ["1"];
/// Names the set that is written into the repository.
const WRITE: &str = "LOCKSTEP_GOLDEN";

/// What a golden folder holds.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Expected {
    cluster_id: String,
    term: u64,
    index: u64,
    digest: String,
    /// Where its snapshot stands.
    snapshot_index: u64,
    snapshot_digest: String,
    /// The revision of a counter.
    counter_revision: u64,
}

fn golden(set: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/golden").join(set)
}

fn expected(set: &Path) -> Expected {
    let file = File::open(set.join("expected.json")).expect("it lies beside the folder");
    serde_json::from_reader(file).expect("what the writer wrote")
}

fn options(data_dir: &Path) -> NodeOptions {
    NodeOptions { peer_advertise: Some(PEER.into()), ..NodeOptions::alone(data_dir) }
}

/// A write whose answer is recorded.
fn increment() -> WriteRequest {
    let key = Key::new("counter").expect("a good key");
    let op = Op::Incr { key, by: 2, initial: 40, ttl: Ttl::Never, condition: Condition::Always };
    WriteRequest { idempotency_key: Some("golden".into()), ..Command::One(op).into() }
}

#[tokio::test]
async fn every_data_folder_opens() {
    for set in SETS {
        opens(&golden(set)).await;
    }
}

#[tokio::test]
async fn every_snapshot_becomes_a_cluster() {
    for set in SETS {
        becomes_a_cluster(&golden(set)).await;
    }
}

/// What this version writes, it reads: the way in which the next set is written.
#[tokio::test]
async fn a_new_set_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let set = std::env::var(WRITE).map_or(folder.path().join("set"), |set| golden(&set));
    write_set(&set).await;
    opens(&set).await;
    becomes_a_cluster(&set).await;
}

async fn opens(set: &Path) {
    let (expected, shown) = (expected(set), set.display());
    let folder = tempfile::tempdir().expect("a folder");
    folder::unpack(&set.join("folder"), folder.path());
    let node = Node::start(options(folder.path())).await.unwrap_or_else(|error| panic!("{shown}: {error}"));
    node.consensus().replica().applied(expected.index).await;
    let digests = node.digests().digests;
    let at_index = digests.iter().find(|digest| digest.index == expected.index);
    assert_eq!(at_index.map(|digest| &digest.digest), Some(&expected.digest), "{shown}");
    // The digest covers everything, expired entries and recorded answers too. From here on time passes: only what lasts
    // for ever can be asked for.
    assert_eq!(node.lineage().cluster_id(), expected.cluster_id, "{shown}");
    let counter = Key::new("counter").expect("a good key");
    let read = node.get(&counter, Consistency::Linearizable).await.expect("it leads");
    let found = read.value.expect("it is there");
    assert_eq!(
        (found.value.bytes.as_ref(), found.info.revision),
        (b"42".as_slice(), expected.counter_revision)
    );
    assert!(node.term() > expected.term, "{shown}: a vote that is forgotten begins with term 1");
    let large = Key::new("large").expect("a good key");
    let read = node.get(&large, Consistency::Linearizable).await.expect("it leads");
    assert_eq!(read.value.expect("it is there").value, large_value(), "{shown}");
    node.stop().await;
}

async fn becomes_a_cluster(set: &Path) {
    let (expected, shown) = (expected(set), set.display());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("backup");
    let mut packed = GzDecoder::new(File::open(set.join("snapshot.gz")).expect("it is there"));
    std::io::copy(&mut packed, &mut File::create(&file).expect("a new file")).expect("it is whole");
    assert_eq!(verify_file(&file).expect("it is whole").index, expected.snapshot_index, "{shown}");
    let restored = folder.path().join("restored");
    let index = restore_backup(&file, &restored, "n1", "http://127.0.0.1:1", PEER, false);
    let index = index.unwrap_or_else(|error| panic!("{shown}: {error}")).start_index;
    assert_eq!(index, INDEX_STEP, "{shown}: the next history begins there");
    let file = SnapshotFile::open_backup(&file).expect("it is whole");
    let mut cache = Cache::restore(file.body()).expect("it is a state");
    let saved = (cache.index(), cache.digest().to_string());
    assert_eq!(saved, (expected.snapshot_index, expected.snapshot_digest), "{shown}");
    // The same state, at the index at which the new history begins. It notes what goes from there on.
    cache.advance(index);
    assert!(cache.open_fork(&expected.cluster_id), "{shown}: the first history has the cluster's id");
    let node = Node::start(options(&restored)).await.expect("it starts");
    assert_eq!(node.consensus().replica().digests()[0], (index, cache.digest()), "{shown}");
    node.stop().await;
}

fn large_value() -> Value {
    // More than a page of the log holds.
    let bytes: Vec<u8> = (0..300_000_u32).map(|number| (number / 1_000) as u8).collect();
    Value::new(bytes.into(), Some("application/octet-stream")).expect("a good value")
}

fn put(key: &str, value: &str, ttl: Ttl) -> Op {
    let (key, value) = (Key::new(key).expect("a good key"), Value::new(value.to_owned().into(), None));
    let value = value.expect("a good value");
    Op::Put { key, value, ttl, condition: Condition::Always, previous: false }
}

fn state(cache: &Cache) -> (u64, Digest) {
    (cache.index(), cache.digest())
}

/// Writes a set of this version.
async fn write_set(set: &Path) {
    assert!(!set.exists(), "{} is there: it is never written again", set.display());
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = options(folder.path());
    options.raft.snapshot_entries = 60;
    options.raft.entries_kept = 5;
    let node = Node::start(options).await.expect("a new node");
    let write = async |command: Command| node.write(command).await.expect("it leads").outcome;
    for number in 0..150 {
        let ttl = match number % 3 {
            0 => Ttl::Never,
            1 => Ttl::Ms(1_000_000_000),
            _ => Ttl::Sliding(1_000_000_000),
        };
        write(Command::One(put(&format!("key {}", number % 40), &format!("value {number}"), ttl))).await;
    }
    for policy in lockstep::cache::Policy::ALL {
        let change = lockstep::cache::ConfigChange { policy: Some(policy), ..Default::default() };
        write(Command::Configure(change)).await;
        write(Command::Batch((0..20).map(|n| put(&format!("batch {n}"), "b", Ttl::Default)).collect())).await;
        node.get(&Key::new("batch 3").expect("a good key"), Consistency::Linearizable)
            .await
            .expect("it leads");
    }
    write(Command::Clear { prefix: Some("key 1".into()), unless: None }).await;
    let (key, value) = (Key::new("large").expect("a good key"), large_value());
    let condition = Condition::Absent;
    write(Command::One(Op::Put { key, value, ttl: Ttl::Never, condition, previous: true })).await;
    let counted = node.write(increment()).await.expect("it leads");
    let snapshot = node.snapshot().await.expect("it can be written");
    let (snapshot_index, snapshot_digest) = node.consensus().replica().with_cache(state);
    assert_eq!(snapshot.index, snapshot_index, "nothing else was written meanwhile");
    let key = Key::new("batch 4").expect("a good key");
    write(Command::One(Op::Delete { key, condition: Condition::Present, previous: true })).await;
    let (index, digest) = node.consensus().replica().with_cache(state);
    let Outcome::Counter { revision, .. } = counted.outcome else { panic!("{counted:?}") };
    fs::create_dir_all(set).expect("a new folder");
    // As a power cut would leave it: the last entries are in the journal only.
    folder::pack(folder.path(), &set.join("folder"));
    folder::pack_file(&snapshot.path, &set.join("snapshot.gz"));
    let expected = Expected {
        cluster_id: node.lineage().cluster_id().to_owned(),
        term: node.term(),
        index,
        digest: digest.to_string(),
        snapshot_index,
        snapshot_digest: snapshot_digest.to_string(),
        counter_revision: revision,
    };
    let file = File::create(set.join("expected.json")).expect("a new file");
    serde_json::to_writer_pretty(file, &expected).expect("it is written");
    node.stop().await;
}
