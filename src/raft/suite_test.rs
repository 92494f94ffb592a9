//! openraft's own suite for storages, on our log and our state machine over a real folder.

use super::feed::Feed;
use super::log::Log;
use super::machine::{FileMeta, Machine};
use super::replica::Replica;
use super::types::{Entry, LogId, SnapshotMeta, StoredMembership, Types};
use crate::raft::LogClock;
use crate::storage::{LogOptions, LogStore, Snapshots};
use bytes::Bytes;
use openraft::StorageError;
use openraft::entry::RaftEntry;
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
        let replica = Arc::new(Replica::new(Arc::new(LogClock::default()), Arc::new(Feed::new(0))));
        let machine = Machine::new(replica, snapshots, Bytes::from_static(b"lineage"));
        Ok((folder, Log::new(store), machine))
    }
}

/// R2: what openraft takes for granted about a log and a state machine holds for ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_log_and_state_machine_pass_the_suite() {
    Suite::test_all(Folders).await.expect("the suite passes");
}

/// R3: a leader's snapshot that is installed while an older one is still being built takes its place, and
/// the node goes on.
#[tokio::test]
async fn a_snapshot_that_is_overtaken_while_it_is_built_is_no_failure() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let snapshots = Snapshots::open(folder.path()).expect("a new folder opens");
    let replica = Arc::new(Replica::new(Arc::new(LogClock::default()), Arc::new(Feed::new(0))));
    let blank = Entry::new_blank(LogId::new(1.into(), 5));
    replica.apply(&[blank]).1.expect("it is applied");
    let mut machine = Machine::new(replica, snapshots.clone(), Bytes::new());
    let mut builder = machine.get_snapshot_builder().await;
    let raft = SnapshotMeta {
        last_log_id: Some(LogId::new(1.into(), 9)),
        last_membership: StoredMembership::default(),
    };
    let meta = FileMeta { raft: raft.clone(), lineage: Bytes::new() }.encode();
    snapshots.write(9, &meta, |out| out.write_all(b"newer")).expect("the newer one is installed");
    let built = builder.build_snapshot().await.expect("being overtaken is no failure");
    assert_eq!(built.meta, raft);
}
