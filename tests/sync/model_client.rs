//! A process' way to the model of a cluster, with what requests meet on it.

use crate::model::{ChooseFault, Fault, Model, Seen, State, lost, problem, unreachable};
use crate::model_feed::ModelFeed;
use crate::mortal::Mortal;
use futures::FutureExt;
use lockstep::api::{ErrorCode, OpRequest};
use lockstep::client::ClientError;
use lockstep::client::sync::{
    Asked, BatchDone, ChangesPage, ClusterLineage, KeysPage, KeysRead, Place, SyncCluster, SyncFeed,
};
use std::sync::Arc;
use std::time::Duration;

/// One process' way to the cluster.
#[derive(Clone)]
pub struct ModelClient {
    pub model: Model,
    pub mortal: Arc<Mortal>,
    /// Faults of this process alone.
    pub fault: ChooseFault,
}

impl ModelClient {
    pub fn new(model: &Model) -> Self {
        Self { model: model.clone(), mortal: Arc::new(Mortal::immortal()), fault: Arc::new(|_| None) }
    }

    pub fn choose_fault(&self, seen: &Seen<'_>) -> Option<Fault> {
        (self.fault)(seen).or_else(|| self.model.choose_fault(seen))
    }

    /// A read, or what may be done twice.
    async fn read_only<T>(
        &self,
        kind: &'static str,
        work: impl FnOnce(&mut State) -> Result<T, ClientError> + Send,
    ) -> Result<T, ClientError> {
        let call = async {
            let fault = self.choose_fault(&Seen { kind, ops: &[] });
            match fault {
                // Of a read that got no answer nothing is in doubt.
                Some(Fault::Refused | Fault::Before | Fault::After | Fault::Late(_)) => {
                    return Err(unreachable());
                }
                Some(Fault::Code(code) | Fault::AtOp(code, _)) => return Err(problem(code, None)),
                Some(Fault::Proxy) => return Err(refused_by_proxy()),
                Some(Fault::SlowRefused(ms)) => {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    return Err(unreachable());
                }
                Some(Fault::Slow(_) | Fault::Twice) | None => {}
            }
            let answer = work(&mut self.model.state());
            if let Some(Fault::Slow(ms)) = fault {
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            answer
        };
        self.mortal.call(call).await.unwrap_or_else(|| Err(lost()))
    }

    async fn send(&self, ops: &[OpRequest], key: &str, sent_after: &Place) -> Result<BatchDone, ClientError> {
        let execute = || self.model.state().batch(ops, key, sent_after);
        match self.choose_fault(&Seen { kind: "batch", ops }) {
            Some(Fault::Refused) => Err(unreachable()),
            Some(Fault::Before) => Err(lost()),
            Some(Fault::Proxy) => Err(refused_by_proxy()),
            Some(Fault::Code(code)) => Err(problem(code, None)),
            Some(Fault::AtOp(code, op)) => Err(problem(code, Some(op))),
            Some(Fault::After) => {
                let _ = execute();
                Err(lost())
            }
            Some(Fault::Twice) => {
                let first = execute();
                let again = execute();
                assert_eq!(first.as_ref().ok(), again.as_ref().ok(), "it is carried out once");
                again
            }
            Some(Fault::Late(ms)) => {
                let (model, ops, key) = (self.model.clone(), ops.to_vec(), key.to_owned());
                let sent_after = sent_after.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    let _ = model.state().batch(&ops, &key, &sent_after);
                });
                Err(lost())
            }
            Some(Fault::Slow(ms)) => {
                let answer = execute();
                tokio::time::sleep(Duration::from_millis(ms)).await;
                answer
            }
            Some(Fault::SlowRefused(ms)) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Err(problem(ErrorCode::Unavailable, None))
            }
            None => execute(),
        }
    }
}

impl SyncCluster for ModelClient {
    fn lineage(&self) -> Asked<'_, ClusterLineage> {
        let lineage = |state: &mut State| {
            Ok(ClusterLineage { cluster_id: state.cluster_id.clone(), histories: state.histories.clone() })
        };
        self.read_only("lineage", lineage).boxed()
    }

    fn time_ms(&self) -> Asked<'_, i64> {
        self.read_only("time", |state| Ok(state.now() as i64)).boxed()
    }

    fn nodes(&self) -> Asked<'_, Vec<(String, bool)>> {
        self.read_only("nodes", |_| Ok(["n1", "n2", "n3"].map(|name| (name.to_owned(), true)).to_vec()))
            .boxed()
    }

    fn read<'a>(&'a self, keys: &'a [String]) -> Asked<'a, KeysRead> {
        let read = move |state: &mut State| {
            let states = keys.iter().map(|key| state.key_state(key, true)).collect();
            Ok(KeysRead { states, place: state.place() })
        };
        self.read_only("read", read).boxed()
    }

    fn page<'a>(&'a self, prefix: &'a str, after: Option<&'a str>, limit: usize) -> Asked<'a, KeysPage> {
        self.read_only("page", move |state| Ok(state.page(prefix, after, limit))).boxed()
    }

    fn changes<'a>(&'a self, since: &'a Place, prefix: &'a str, limit: usize) -> Asked<'a, ChangesPage> {
        self.read_only("changes", move |state| state.changes(since, prefix, limit)).boxed()
    }

    fn batch<'a>(
        &'a self,
        ops: &'a [OpRequest],
        idempotency_key: &'a str,
        sent_after: &'a Place,
    ) -> Asked<'a, BatchDone> {
        let sent = self.mortal.call(self.send(ops, idempotency_key, sent_after));
        async move { sent.await.unwrap_or_else(|| Err(lost())) }.boxed()
    }

    fn watch(
        &self,
        prefixes: &[String],
        from: Option<Place>,
        cluster_id: Option<String>,
    ) -> Box<dyn SyncFeed> {
        Box::new(ModelFeed::new(self.clone(), prefixes, from, cluster_id))
    }

    fn open_session<'a>(&'a self, name: &'a str, _: Duration) -> Asked<'a, u64> {
        let open = |state: &mut State| {
            state.index += 1;
            state.sessions.insert(state.index, name.to_owned());
            Ok(state.index)
        };
        self.read_only("session", open).boxed()
    }

    fn renew_session(&self, id: u64) -> Asked<'_, bool> {
        self.read_only("session", move |state| Ok(state.sessions.contains_key(&id))).boxed()
    }

    fn end_session(&self, id: u64) -> Asked<'_, ()> {
        self.read_only("session", move |state| {
            state.sessions.remove(&id);
            Ok(())
        })
        .boxed()
    }

    fn sessions<'a>(&'a self, prefix: &'a str) -> Asked<'a, Vec<String>> {
        let names = move |state: &mut State| {
            Ok(state.sessions.values().filter(|name| name.starts_with(prefix)).cloned().collect())
        };
        self.read_only("session", names).boxed()
    }
}

fn refused_by_proxy() -> ClientError {
    ClientError::NoNode { url: "a model".into(), reason: "status 413 without a problem description".into() }
}
