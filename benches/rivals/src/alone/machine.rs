//! A state machine that is a hash map.

use super::{LogId, SnapshotMeta, StoredMembership, Types};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

type Contents = HashMap<Bytes, Bytes>;
pub type Snapshot = openraft::type_config::alias::SnapshotOf<Types, Arc<Contents>>;
type Current = Arc<Mutex<Option<(SnapshotMeta, Arc<Contents>)>>>;

#[derive(Default)]
pub struct Machine {
    contents: Contents,
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshot: Current,
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Arc<Contents>;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + Send,
    {
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let log_id = entry.log_id();
            self.applied = Some(log_id);
            match entry.payload {
                EntryPayload::Normal(put) => {
                    self.contents.insert(put.key, put.value);
                }
                EntryPayload::Blank => {}
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(log_id), membership);
                }
            }
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let meta = SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() };
        Builder { meta, contents: Arc::new(self.contents.clone()), snapshot: self.snapshot.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, contents: Arc<Contents>) -> io::Result<()> {
        self.contents = (*contents).clone();
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        *self.snapshot.lock().expect("no panic while held") = Some((meta.clone(), contents));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let current = self.snapshot.lock().expect("no panic while held").clone();
        Ok(current.map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

/// Keeps a picture that was taken when it was made.
pub struct Builder {
    meta: SnapshotMeta,
    contents: Arc<Contents>,
    snapshot: Current,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Arc<Contents>;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let (meta, snapshot) = (self.meta.clone(), self.contents.clone());
        *self.snapshot.lock().expect("no panic while held") = Some((meta.clone(), snapshot.clone()));
        Ok(Snapshot { meta, snapshot })
    }
}
