//! openraft's own suite for storages, on our log and our state machine over a real folder.

use super::log::Log;
use super::machine::{FileMeta, Machine};
use super::types::{LogId, RaftStoredMembership, SnapshotMeta, Types};
use crate::cache::limits::FEATURE_LEVEL;
use crate::cache::{Command, Condition, Key, Op, Ttl, Value};
use crate::lineage::{HistoryKind, Lineage, TermStarts};
use crate::replica::{
    ChangeLog, Committed, Content, Envelope, LogClock, LogPosition, Operation, OperationKind, Proposal,
    RECENT_MAX, Replica,
};
use crate::storage::{LogOptions, LogStore, Snapshots};
use bytes::Bytes;
use openraft::StorageError;
use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use std::sync::Arc;
use tempfile::TempDir;

/// Builds each test of the suite a store in a new folder, which goes away with its guard.
struct Folders;

impl StoreBuilder<Types, Log, Machine, TempDir> for Folders {
    async fn build(&self) -> Result<(TempDir, Log, Machine), StorageError<Types>> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store =
            LogStore::open(&folder.path().join("log"), LogOptions::default()).expect("a new log opens");
        let snapshots = Snapshots::open(folder.path().join("snapshots")).expect("a new folder opens");
        let machine = Machine::new(replica(), snapshots, lineage());
        Ok((folder, Log::new(store), machine))
    }
}

/// R2: what openraft takes for granted about a log and a state machine holds for ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_log_and_state_machine_pass_the_suite() {
    Suite::test_all(Folders).await.expect("the suite passes");
}

fn lineage() -> Arc<Lineage> {
    Arc::new(Lineage::founded("c", 0))
}

fn replica() -> Arc<Replica> {
    Arc::new(Replica::new(Arc::new(LogClock::default()), Arc::new(ChangeLog::new(0)), FEATURE_LEVEL))
}

fn blank(term: u64, index: u64) -> Committed {
    Committed { position: LogPosition { term, index }, content: Content::Blank }
}

fn apply(replica: &Replica, entries: Vec<Committed>) {
    let (mut decoded, outcome) = replica.decode(entries);
    outcome.expect("they can be applied");
    while !decoded.is_empty() {
        replica.apply(&mut decoded);
    }
}

/// R3: a leader's snapshot that is installed while an older one is still being built takes its place, and
/// the node goes on.
#[tokio::test]
async fn a_snapshot_that_is_overtaken_while_it_is_built_is_no_failure() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let snapshots = Snapshots::open(folder.path()).expect("a new folder opens");
    let replica = replica();
    apply(&replica, vec![blank(1, 5)]);
    let mut machine = Machine::new(replica, snapshots.clone(), lineage());
    let mut builder = machine.get_snapshot_builder().await;
    let raft = SnapshotMeta {
        last_log_id: Some(LogId::new(1.into(), 9)),
        last_membership: RaftStoredMembership::default(),
    };
    let (lineage, terms) = (Lineage::clone(&lineage()), TermStarts::default());
    let meta = FileMeta { raft: raft.clone(), lineage, terms, recent: Vec::new() }.encode();
    snapshots.write(9, &meta, |out| out.write_all(b"newer")).expect("the newer one is installed");
    let built = builder.build_snapshot().await.expect("being overtaken is no failure");
    assert_eq!(built.meta, raft);
}

/// In which term each entry was written outlives a restart and the log that is purged, and a snapshot of another history is
/// not taken for one of this.
#[tokio::test]
async fn a_snapshot_has_the_terms_and_belongs_to_its_history() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let snapshots = Snapshots::open(folder.path()).expect("a new folder opens");
    let before = replica();
    apply(&before, vec![blank(1, 1), blank(1, 2), blank(4, 3), blank(4, 4)]);
    let mut machine = Machine::new(before.clone(), snapshots.clone(), lineage());
    let build = async |machine: &mut Machine| {
        machine.get_snapshot_builder().await.build_snapshot().await.expect("it is written")
    };
    let snapshot = build(&mut machine).await;

    let after = replica();
    let mut machine = Machine::new(after.clone(), snapshots.clone(), lineage());
    machine.install_snapshot(&snapshot.meta, snapshot.snapshot).await.expect("it is read");
    apply(&after, vec![blank(5, 5)]);
    let starts: Vec<_> = after.terms().iter().map(|start| (start.term, start.index)).collect();
    assert_eq!(starts, [(1, 1), (4, 3), (5, 5)]);

    let forked = lineage().fork("d".into(), HistoryKind::Restored, 5, 5, 0, "").expect("there is room");
    let elsewhere = Snapshots::open(folder.path().join("other")).expect("a new folder opens");
    let mut other = Machine::new(replica(), elsewhere.clone(), Arc::new(forked));
    let snapshot = build(&mut machine).await;
    let refused = other.install_snapshot(&snapshot.meta, snapshot.snapshot).await.expect_err("it is foreign");
    assert!(
        refused.to_string().contains("belongs to history 1 (c), and this node to history 2 (d)"),
        "{refused}"
    );
    assert!(elsewhere.current().is_none(), "it does not get into the folder");
}

/// A restart begins with a snapshot, and the newest operations are in it.
#[tokio::test]
async fn the_newest_operations_outlive_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let snapshots = Snapshots::open(folder.path()).expect("a new folder opens");
    let replica = || {
        Arc::new(Replica::new(
            Arc::new(LogClock::default()),
            Arc::new(ChangeLog::new(1_000_000)),
            FEATURE_LEVEL,
        ))
    };
    let put = |index: u64| {
        let key = Key::new(&format!("k{index}")).expect("a key");
        let value =
            Value::new(Bytes::from(vec![b'v'; 600 * (1 + index as usize % 2)]), None).expect("a value");
        let op = Op::Put { key, value, ttl: Ttl::Default, condition: Condition::Always, previous: false };
        let body = Envelope::from(Command::One(op)).encode();
        let proposal = Proposal { at_ms: index, by: 1 + index % 3, touches: Bytes::new(), body };
        Committed { position: LogPosition { term: 1, index }, content: Content::Command(proposal) }
    };
    let before = replica();
    apply(&before, (1..=150).map(put).collect());
    let mut machine = Machine::new(before.clone(), snapshots.clone(), lineage());
    let snapshot = machine.get_snapshot_builder().await.build_snapshot().await.expect("it is written");

    let after = replica();
    let mut machine = Machine::new(after.clone(), snapshots, lineage());
    machine.install_snapshot(&snapshot.meta, snapshot.snapshot).await.expect("it is read");
    let recent = after.change_log().recent(usize::MAX);
    assert_eq!(recent, before.change_log().recent(RECENT_MAX));
    assert_eq!(
        recent.iter().map(|operation| operation.index).collect::<Vec<_>>(),
        (51..=150).rev().collect::<Vec<_>>()
    );
    assert_eq!((recent[0].by, recent[0].at_ms), (Some(1), 150));
    let has_value =
        |operation: &Operation| matches!(operation.kind, OperationKind::Put { value: Some(_), .. });
    assert_eq!((has_value(&recent[0]), has_value(&recent[1])), (true, false), "large values are left out");
    apply(&after, vec![put(151)]);
    let recent = after.change_log().recent(3);
    assert_eq!(recent.iter().map(|operation| operation.index).collect::<Vec<_>>(), [151, 150, 149]);
}
