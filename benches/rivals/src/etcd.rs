//! Load on etcd, over its gRPC interface.
//!
//! The few messages that are needed are written out here: what etcd's own client crates add on top of the same gRPC
//! library is a build that needs the protocol buffers compiler.

use crate::load::{Caller, Load, run};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::ValueEnum;
use futures::{StreamExt, TryStreamExt, stream};
use http::uri::PathAndQuery;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Puts under way while the keys are filled in.
const FILL_WIDTH: usize = 128;

/// Connections, unless their number is given: one a core, and callers share them. etcd's own `benchmark` has one
/// connection (`--conns`) and one caller (`--clients`) unless it is told otherwise; etcd's documentation measures latency
/// like that, and throughput with 10 callers on each connection (`--conns=100 --clients=1000`). On two cores, 64 callers
/// got most out of it through one or two connections: the medians of 4, 8, 16 and 64 were lower, for puts and gets.
fn connections() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Put,
    /// Linearizable, as etcd answers unless it is asked otherwise
    Get,
}

/// Which of the endpoints take the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum To {
    Any,
    Leader,
    Followers,
}

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct EtcdArgs {
    pub kind: Kind,
    /// URLs of the members, with commas between them
    #[arg(long, value_delimiter = ',', default_value = "http://127.0.0.1:2379")]
    pub endpoints: Vec<String>,
    /// Which of them take the load
    #[arg(long, default_value = "any")]
    pub to: To,
    /// Callers, each with one request under way
    #[arg(long, default_value_t = 64)]
    pub clients: usize,
    /// HTTP/2 connections that the callers share [default: one a core]
    #[arg(long)]
    pub conns: Option<usize>,
    /// get only: do not write all keys first
    #[arg(long)]
    pub no_fill: bool,
    #[command(flatten)]
    pub load: Load,
}

/// Asks etcd and reports.
///
/// # Errors
/// It cannot be reached, or the keys cannot be filled in.
pub async fn etcd(args: &EtcdArgs) -> Result<serde_json::Value> {
    let targets = targets(&args.endpoints, args.to).await?;
    let conns = args.conns.unwrap_or_else(connections).clamp(1, args.clients.max(1));
    let mut channels = Vec::new();
    for number in 0..conns {
        channels.push(connect(&targets[number % targets.len()]).await?);
    }
    let keys: Arc<[Bytes]> = args.load.key_names().map(Bytes::from).collect();
    let value = args.load.value();
    let (kind, name) = match args.kind {
        Kind::Put => (Kind::Put, "put"),
        Kind::Get => (Kind::Get, "get"),
    };
    if kind == Kind::Get && !args.no_fill {
        fill(&channels, &keys, &value).await.context("cannot fill the keys in")?;
    }
    let caller = |number: usize| Asker {
        grpc: Grpc::new(channels[number % conns].clone()),
        kind,
        keys: keys.clone(),
        value: value.clone(),
    };
    let measured = run(&args.load, (0..args.clients).map(caller).collect()).await;
    let more = json!({
        "system": "etcd", "urls": targets, "clients": args.clients, "conns": conns, "durable": true,
        "consistency": "linearizable",
    });
    Ok(measured.report(name, &args.load, more))
}

/// Writes a key through one member.
///
/// # Errors
/// It does not answer, or nothing was written.
pub async fn write(url: &str, key: &'static str) -> Result<()> {
    let mut grpc = Grpc::new(connect(url).await?);
    let key = Bytes::from_static(key.as_bytes());
    put(&mut grpc, key.clone(), key).await.map_err(anyhow::Error::msg)
}

struct Asker {
    grpc: Grpc<Channel>,
    kind: Kind,
    keys: Arc<[Bytes]>,
    value: Bytes,
}

impl Caller for Asker {
    async fn ask(&mut self, key: usize) -> Result<(), String> {
        let key = self.keys[key].clone();
        match self.kind {
            Kind::Put => put(&mut self.grpc, key, self.value.clone()).await,
            Kind::Get => {
                let answer: RangeResponse = call(&mut self.grpc, RANGE, RangeRequest { key }).await?;
                if answer.kvs.is_empty() { Err("not_found".into()) } else { Ok(()) }
            }
        }
    }
}

async fn put(grpc: &mut Grpc<Channel>, key: Bytes, value: Bytes) -> Result<(), String> {
    let _: PutResponse = call(grpc, PUT, PutRequest { key, value }).await?;
    Ok(())
}

async fn fill(channels: &[Channel], keys: &[Bytes], value: &Bytes) -> Result<()> {
    let puts = keys.iter().enumerate().map(|(number, key)| {
        let (mut grpc, key) = (Grpc::new(channels[number % channels.len()].clone()), key.clone());
        async move { put(&mut grpc, key, value.clone()).await.map_err(anyhow::Error::msg) }
    });
    stream::iter(puts).buffer_unordered(FILL_WIDTH).try_collect::<()>().await
}

async fn connect(url: &str) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(url.to_owned()).with_context(|| format!("{url} is no URL"))?;
    let endpoint = endpoint.connect_timeout(Duration::from_secs(5)).timeout(ANSWER_LIMIT).tcp_nodelay(true);
    endpoint.connect().await.with_context(|| format!("cannot reach {url}"))
}

/// The endpoints that take the load.
async fn targets(urls: &[String], to: To) -> Result<Vec<String>> {
    if to == To::Any {
        return Ok(urls.to_vec());
    }
    let mut targets = Vec::new();
    for url in urls {
        let leads = leads(url).await?;
        if leads == (to == To::Leader) {
            targets.push(url.clone());
        }
    }
    if targets.is_empty() {
        bail!("none of {} is asked for by --to", urls.join(", "));
    }
    Ok(targets)
}

/// Whether this member is the leader.
///
/// # Errors
/// It does not answer, or there is no leader.
pub async fn leads(url: &str) -> Result<bool> {
    let mut grpc = Grpc::new(connect(url).await?);
    let status: Result<StatusResponse, String> = call(&mut grpc, STATUS, StatusRequest {}).await;
    let status = status.map_err(|error| anyhow::anyhow!("{url}: {error}"))?;
    let member = status.header.map_or(0, |header| header.member_id);
    if status.leader == 0 {
        bail!("{url} knows no leader");
    }
    Ok(member == status.leader)
}

/// One request; the error is the name of the status it was answered with.
async fn call<Q, A>(grpc: &mut Grpc<Channel>, path: &'static str, request: Q) -> Result<A, String>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let named = |status: tonic::Status| format!("{:?}", status.code());
    grpc.ready().await.map_err(|_| "transport".to_owned())?;
    let path = PathAndQuery::from_static(path);
    let answer = grpc.unary(tonic::Request::new(request), path, ProstCodec::<Q, A>::default()).await;
    answer.map(tonic::Response::into_inner).map_err(named)
}

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const STATUS: &str = "/etcdserverpb.Maintenance/Status";

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
}

/// Without `serializable`, which would let the member answer from what it has.
#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(int64, tag = "2")]
    create_revision: i64,
    #[prost(int64, tag = "3")]
    mod_revision: i64,
    #[prost(int64, tag = "4")]
    version: i64,
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(uint64, tag = "2")]
    member_id: u64,
    #[prost(int64, tag = "3")]
    revision: i64,
}
