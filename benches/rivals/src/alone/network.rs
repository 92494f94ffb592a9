//! A network that is a function call: requests go into the other node's openraft as they are.

use super::machine::{Machine, Snapshot};
use super::{Raft, Types, Vote};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, VoteRequest,
    VoteResponse,
};
use openraft::storage::RaftStateMachine;
use openraft::{RaftNetworkFactory, RaftNetworkV2};
use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;
use std::io;
use std::sync::{Arc, OnceLock};

/// Leads to every node, once they are all there. Clones lead to the same ones.
#[derive(Clone, Default)]
pub struct Networks(Arc<OnceLock<BTreeMap<u64, Raft>>>);

impl Networks {
    /// From now on the nodes reach each other. Only once.
    pub fn connect(&self, nodes: BTreeMap<u64, Raft>) {
        assert!(self.0.set(nodes).is_ok(), "the nodes are connected once");
    }
}

impl RaftNetworkFactory<Types> for Networks {
    type Network = Network;

    async fn new_client(&mut self, target: u64, (): &()) -> Network {
        Network { target, all: self.clone() }
    }
}

pub struct Network {
    target: u64,
    all: Networks,
}

impl Network {
    fn raft(&self) -> Result<&Raft, Unreachable<Types>> {
        let raft = self.all.0.get().and_then(|nodes| nodes.get(&self.target));
        raft.ok_or_else(|| Unreachable::new(&io::Error::from(io::ErrorKind::NotConnected)))
    }
}

fn failed(error: impl Error + 'static) -> RPCError<Types> {
    RPCError::Network(NetworkError::new(&error))
}

impl RaftNetworkV2<Types> for Network {
    type SnapshotData = <Machine as RaftStateMachine<Types>>::SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.raft()?.append_entries(request).await.map_err(failed)
    }

    /// Pipelined, as Lockstep does it: the next request goes out before the last one is answered.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
    {
        async move {
            let answers = self.raft()?.stream_append(input).map(|answer| answer.map_err(failed));
            let answers: BoxStream<'s, _> = Box::pin(answers);
            Ok(answers)
        }
        .boxed()
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.raft()?.vote(request).await.map_err(failed)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.raft()?.pre_vote(request).await.map_err(failed)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let installed = self.raft()?.install_full_snapshot(vote, snapshot).await;
        installed.map_err(|error| StreamingError::Network(NetworkError::new(&error)))
    }
}
