//! The client, as a synchronizer asks it.

use super::cluster::{
    Asked, BatchDone, ChangesPage, ClusterHistory, ClusterLineage, FeedMessage, FoundKey, KeyChange,
    KeyState, KeysPage, KeysRead, OpDone, Place, SyncCluster, SyncFeed,
};
use super::types::SyncValue;
use crate::api::{
    Change, Consistency, EntryMeta, ErrorCode, OpAnswer, OpRequest, OpResult, ValueDetails, WatchMessage,
    WireValue,
};
use crate::cache::Removal;
use crate::client::{Client, ClientError, Cursor, Position, Positioned, WatchOptions, Watching};
use futures::FutureExt;
use std::time::Duration;

/// A node that was not heard of for so long does not answer.
const SILENT_MS_MAX: u64 = 15_000;

impl From<Position> for Place {
    fn from(at: Position) -> Self {
        Self { index: at.index, history: at.history }
    }
}

fn garbled(what: &str, reason: String) -> ClientError {
    ClientError::Garbled { url: what.to_owned(), reason }
}

/// A key with its value, as nodes say it.
fn found(
    key: &str,
    meta: EntryMeta,
    value: Option<WireValue>,
    content_type: Option<String>,
) -> Result<KeyState, ClientError> {
    let value = match value {
        Some(value) => {
            let value = SyncValue::of_wire(value, content_type);
            Some(value.ok_or_else(|| garbled(key, "its value is no base64".into()))?)
        }
        None => None,
    };
    Ok(KeyState::Found(FoundKey {
        revision: meta.revision,
        version: meta.version,
        modified_at_ms: i64::try_from(meta.modified_at_ms).unwrap_or(i64::MAX),
        origin: meta.origin,
        value,
    }))
}

fn with_value(key: &str, entry: ValueDetails) -> Result<KeyState, ClientError> {
    found(key, entry.meta, Some(entry.value), entry.content_type)
}

fn absent(gone: Option<Removal>, as_of: u64) -> KeyState {
    KeyState::Absent { gone, as_of }
}

fn change(change: Change, as_of: u64) -> Result<KeyChange, ClientError> {
    Ok(match change {
        Change::Cleared { prefix, gone } => KeyChange::Cleared(prefix, gone),
        Change::Key { key, meta: Some(meta), value, content_type, .. } => {
            let state = found(&key, meta, value, content_type)?;
            KeyChange::Key(key, state)
        }
        Change::Key { key, gone, .. } => {
            // The page is in the order of the log: of a removal that is not named, only the end is sure.
            KeyChange::Key(key, absent(gone, as_of))
        }
    })
}

fn done(op: &OpRequest, result: OpResult, revision: u64) -> Result<OpDone, ClientError> {
    let refused = match result {
        OpResult::Done(OpAnswer::Incr { value, .. }) => return Ok(OpDone::Done { number: Some(value) }),
        OpResult::Done(_) => return Ok(OpDone::Done { number: None }),
        OpResult::Refused { refused, .. } => refused,
    };
    let state = match refused.meta {
        Some(meta) => found(op.name(), meta, None, None)?,
        None => absent(refused.absent.and_then(|absent| absent.gone), revision),
    };
    Ok(OpDone::Refused { code: refused.code, detail: refused.detail, state })
}

impl SyncCluster for Client {
    fn lineage(&self) -> Asked<'_, ClusterLineage> {
        async {
            let report = Client::lineage(self).await?;
            let histories = report.lineage.histories().iter().map(|history| ClusterHistory {
                id: history.id.clone(),
                fork_index: history.fork_index,
                detached: history.is_detached(),
            });
            Ok(ClusterLineage {
                cluster_id: report.lineage.cluster_id().to_owned(),
                histories: histories.collect(),
            })
        }
        .boxed()
    }

    fn time_ms(&self) -> Asked<'_, i64> {
        async { Ok(i64::try_from(self.log_time().await?.value.time_ms).unwrap_or(i64::MAX)) }.boxed()
    }

    fn nodes(&self) -> Asked<'_, Vec<(String, bool)>> {
        async {
            let members = self.status().await?.members;
            // Without any figure the leader could not be asked. Otherwise it has not heard of a member without one.
            let is_known = members.iter().any(|member| member.silent_ms.is_some());
            let answers = |silent: Option<u64>| !is_known || silent.is_some_and(|ms| ms < SILENT_MS_MAX);
            Ok(members.into_iter().map(|member| (member.name, answers(member.silent_ms))).collect())
        }
        .boxed()
    }

    fn read<'a>(&'a self, keys: &'a [String]) -> Asked<'a, KeysRead> {
        async move {
            let read = self.read_many(keys, Consistency::Linearizable).await?;
            let states = keys.iter().zip(read.value).map(|(key, got)| match got.entry {
                Some(entry) => with_value(key, entry),
                None => Ok(absent(got.absent.and_then(|absent| absent.gone), read.at.index)),
            });
            let states = states.collect::<Result<_, ClientError>>()?;
            Ok(KeysRead { states, place: Place { index: read.at.index, history: read.at.history } })
        }
        .boxed()
    }

    fn page<'a>(&'a self, prefix: &'a str, after: Option<&'a str>, limit: usize) -> Asked<'a, KeysPage> {
        async move {
            let page = self.entries(prefix, after, limit, Consistency::Linearizable).await?;
            let keys = page.value.entries.into_iter().map(|entry| {
                let state = with_value(&entry.key, entry.entry)?;
                Ok((entry.key, state))
            });
            Ok(KeysPage {
                keys: keys.collect::<Result<_, ClientError>>()?,
                next: page.value.next,
                // What the page says, not what the node has by now.
                place: Place { index: page.value.index, history: page.at.history },
            })
        }
        .boxed()
    }

    fn changes<'a>(&'a self, since: &'a Place, prefix: &'a str, limit: usize) -> Asked<'a, ChangesPage> {
        async move {
            let since = Cursor { index: since.index, history: since.history.clone() };
            let page = Client::changes(self, &since, prefix, limit, true).await?.value;
            let changes = page.changes.into_iter().map(|each| change(each, page.index));
            Ok(ChangesPage {
                changes: changes.collect::<Result<_, ClientError>>()?,
                next: page.next,
                more: page.more,
                complete: page.complete,
            })
        }
        .boxed()
    }

    fn batch<'a>(
        &'a self,
        ops: &'a [OpRequest],
        idempotency_key: &'a str,
        sent_after: &'a Place,
    ) -> Asked<'a, BatchDone> {
        async move {
            let sent_after = Cursor { index: sent_after.index, history: sent_after.history.clone() };
            let sent = self.batch_each_once(ops, idempotency_key, &sent_after).await?;
            let Positioned { value: answer, at } = sent;
            let revision = answer.revision;
            let results = ops.iter().zip(answer.results).map(|(op, result)| done(op, result, revision));
            let results = results.collect::<Result<_, ClientError>>()?;
            Ok(BatchDone { revision, history: at.history, results })
        }
        .boxed()
    }

    fn watch(
        &self,
        prefixes: &[String],
        from: Option<Place>,
        cluster_id: Option<String>,
    ) -> Box<dyn SyncFeed> {
        let prefixes = prefixes.to_vec();
        let (from, history) = from.map(|place| (place.index, place.history)).unzip();
        let anew = WatchOptions { prefixes, ..WatchOptions::default() };
        let watching = Client::watch(self, WatchOptions { from, history, ..anew.clone() });
        Box::new(ClientFeed { client: self.clone(), anew, watching, cluster_id })
    }

    fn open_session<'a>(&'a self, name: &'a str, ttl: Duration) -> Asked<'a, u64> {
        async move { Ok(Client::open_session(self, name, ttl).await?.id) }.boxed()
    }

    fn renew_session(&self, id: u64) -> Asked<'_, bool> {
        async move { Ok(Client::renew_session(self, id).await?.is_some()) }.boxed()
    }

    fn end_session(&self, id: u64) -> Asked<'_, ()> {
        async move { Client::end_session(self, id).await.map(drop) }.boxed()
    }

    fn sessions<'a>(&'a self, prefix: &'a str) -> Asked<'a, Vec<String>> {
        async move {
            let sessions = Client::sessions(self, prefix).await?.sessions;
            Ok(sessions.into_iter().map(|session| session.name).collect())
        }
        .boxed()
    }
}

/// A watch that goes over to another history when the cluster does.
struct ClientFeed {
    client: Client,
    /// How a watch begins that has no place.
    anew: WatchOptions,
    watching: Watching,
    cluster_id: Option<String>,
}

impl ClientFeed {
    async fn message(&mut self) -> Result<FeedMessage, ClientError> {
        let message = match self.watching.next().await {
            Ok(message) => message,
            Err(error) if error.code() == ErrorCode::OtherHistory => {
                // The place means nothing there: the watch begins anew, and says so.
                self.watching = self.client.watch(self.anew.clone());
                return Ok(FeedMessage::Resync { history: true });
            }
            Err(error) => return Err(error),
        };
        Ok(match message {
            WatchMessage::Subscribed { cluster_id, history, .. } => {
                let known = self.cluster_id.get_or_insert_with(|| cluster_id.clone());
                if *known != cluster_id {
                    return Err(garbled("/v1/watch", format!("it is of the cluster {cluster_id}")));
                }
                FeedMessage::Subscribed { history: history.id }
            }
            WatchMessage::Change { index, at_ms, origin, events, .. } => {
                FeedMessage::Change { index, at_ms, origin, events }
            }
            WatchMessage::Resync { .. } => FeedMessage::Resync { history: false },
            WatchMessage::Bookmark { index, .. } | WatchMessage::Closed { resume: index, .. } => {
                FeedMessage::Bookmark { index }
            }
        })
    }
}

impl SyncFeed for ClientFeed {
    fn next(&mut self) -> Asked<'_, FeedMessage> {
        self.message().boxed()
    }
}
