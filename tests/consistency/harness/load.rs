//! The clients: each does one thing after another, chosen at random among the workloads, and everything it was
//! told is recorded.

use super::ask::{Condition, Protocol, Reply, Request};
use super::cluster::{Address, Directory};
use super::http::Asker;
use super::redis::Redis;
use super::workloads::pipeline::Own;
use super::workloads::{self, Planned, Workload};
use lockstep::check::{Operation, Outcome};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// A key is left for a new one after so many operations, or so many writes that nobody knows the outcome of: each
/// of those doubles the orders that the checker has to think of.
const OPERATIONS_A_KEY: u64 = 150;
const UNKNOWN_A_KEY: u64 = 6;

/// How the node of an operation over Redis is told from one over HTTP.
pub const REDIS: &str = " over redis";

/// Everything that was recorded: operations by workload, in the order of their ends.
pub type Recorded = BTreeMap<Workload, Vec<Operation>>;

/// What all clients share.
pub struct Shared {
    pub directory: Directory,
    pub begun: Instant,
    asker: Asker,
    recorded: Mutex<Recorded>,
    keys: Mutex<BTreeMap<Workload, KeyInUse>>,
    clients: AtomicU64,
    values: AtomicU64,
    /// When writes were acknowledged, in nanoseconds since the run began.
    acknowledged: Mutex<Vec<u64>>,
    /// What nodes told and no request is answered with, in sentences.
    wrong: Arc<Mutex<Vec<String>>>,
    stop: AtomicBool,
}

#[derive(Default)]
struct KeyInUse {
    number: u64,
    operations: u64,
    unknown: u64,
}

/// Running clients.
pub struct Load {
    pub shared: Arc<Shared>,
    protocols: Vec<Protocol>,
    tasks: JoinSet<()>,
}

impl Load {
    /// Starts so many clients, which speak these protocols in turns. `mix` says how often each workload gets a turn.
    pub fn start(
        directory: &Directory,
        begun: Instant,
        mix: &[(Workload, u32)],
        (clients, protocols): (u64, &[Protocol]),
        seed: u64,
    ) -> Self {
        let shared = Arc::new(Shared {
            directory: directory.clone(),
            begun,
            asker: Asker::new(),
            recorded: Mutex::default(),
            keys: Mutex::default(),
            clients: AtomicU64::new(0),
            values: AtomicU64::new(0),
            acknowledged: Mutex::default(),
            wrong: Arc::default(),
            stop: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        for (number, protocol) in (0..clients).zip(protocols.iter().cycle()) {
            let random = fastrand::Rng::with_seed(seed.wrapping_mul(0x9E37_79B9).wrapping_add(number));
            let mut client = Client::new(shared.clone(), *protocol, random);
            let mut mix = mix.to_vec();
            mix.retain(|(workload, _)| workload.is_for(*protocol));
            tasks.spawn(async move {
                while !client.shared.stop.load(Ordering::Acquire) {
                    let workload = choose(&mix, &mut client.random);
                    workloads::step(workload, &mut client).await;
                    let think = Duration::from_millis(client.random.u64(2..20));
                    tokio::time::sleep(think).await;
                }
            });
        }
        Self { shared, protocols: protocols.to_vec(), tasks }
    }

    /// Stops the clients, lets each finish what it does, and reads what there is at the end through every node and in
    /// every protocol, with less patience where all is `hopeless`. What is wrong by itself, in sentences: what could not
    /// be read, and what no request is answered with.
    pub async fn finish(mut self, hopeless: bool) -> (Recorded, Vec<String>) {
        self.shared.stop.store(true, Ordering::Release);
        let mut wrong = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            wrong.extend(ended.err().map(|panic| format!("a client: {panic}")));
        }
        for protocol in &self.protocols {
            let random = fastrand::Rng::with_seed(0);
            let mut reader = Client::new(self.shared.clone(), *protocol, random);
            wrong.extend(workloads::final_reads(&mut reader, hopeless).await.err());
        }
        wrong.append(&mut self.shared.wrong.lock().expect("no panic while held"));
        (std::mem::take(&mut *self.shared.recorded.lock().expect("no panic while held")), wrong)
    }
}

fn choose(mix: &[(Workload, u32)], random: &mut fastrand::Rng) -> Workload {
    let mut ticket = random.u32(..mix.iter().map(|(_, weight)| *weight).sum::<u32>());
    for (workload, weight) in mix {
        match ticket.checked_sub(*weight) {
            None => return *workload,
            Some(left) => ticket = left,
        }
    }
    unreachable!("the ticket is smaller than the sum")
}

impl Shared {
    /// Nanoseconds since the run began.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub fn acknowledged(&self) -> Vec<u64> {
        self.acknowledged.lock().expect("no panic while held").clone()
    }

    /// A key of a workload that nobody has used.
    pub fn fresh_key(&self, workload: Workload) -> String {
        let mut keys = self.keys.lock().expect("no panic while held");
        let next = keys.get(&workload).map_or(0, |key| key.number + 1);
        keys.insert(workload, KeyInUse { number: next, ..KeyInUse::default() });
        workload.key(next)
    }

    /// The keys of a workload so far, oldest first.
    pub fn keys_so_far(&self, workload: Workload) -> Vec<String> {
        let newest = self.keys.lock().expect("no panic while held").get(&workload).map(|key| key.number);
        newest.map_or_else(Vec::new, |newest| (0..=newest).map(|number| workload.key(number)).collect())
    }
}

/// One client: it does one thing at a time. After a write that it does not know the outcome of it goes on as
/// another one, since that write is not over.
pub struct Client {
    pub shared: Arc<Shared>,
    pub random: fastrand::Rng,
    pub protocol: Protocol,
    pub id: u64,
    /// What this client saw last, by key: what it can make the condition of a write.
    seen: BTreeMap<String, Condition>,
    /// The key of its own pipelines.
    pub own: Own,
    redis: Redis,
    /// The newest index it was told of by a workload about sessions.
    pub floor: u64,
    /// Whether its last operation was.
    pub was_answered: bool,
}

/// An operation that has begun.
pub struct Begun {
    pub node: Address,
    pub key: String,
    /// In nanoseconds since the run began.
    pub call_ns: u64,
}

impl Client {
    fn new(shared: Arc<Shared>, protocol: Protocol, mut random: fastrand::Rng) -> Self {
        let id = shared.clients.fetch_add(1, Ordering::Relaxed);
        let redis = Redis::new(shared.directory.clone(), random.fork(), shared.wrong.clone());
        let (seen, own) = (BTreeMap::new(), Own::default());
        Self { shared, random, protocol, id, seen, own, redis, floor: 0, was_answered: false }
    }

    /// A number that nobody else writes.
    pub fn unique(&self) -> u64 {
        self.shared.values.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The key of a workload that is in use now.
    pub fn key(&self, workload: Workload) -> String {
        let mut keys = self.shared.keys.lock().expect("no panic while held");
        let key = keys.entry(workload).or_default();
        key.operations += 1;
        if key.operations > workload.operations_a_key().unwrap_or(OPERATIONS_A_KEY)
            || key.unknown >= UNKNOWN_A_KEY
        {
            *key = KeyInUse { number: key.number + 1, operations: 1, unknown: 0 };
        }
        workload.key(key.number)
    }

    /// The operation's time begins; any node will be asked.
    pub fn begin(&mut self, key: String) -> Begun {
        let node = self.shared.directory.any(&mut self.random);
        self.begin_at(key, node)
    }

    pub fn begin_at(&self, key: String, node: Address) -> Begun {
        Begun { node, key, call_ns: self.shared.now_ns() }
    }

    pub async fn ask(&mut self, node: &Address, request: &Request) -> Reply {
        match self.protocol {
            Protocol::Http => self.shared.asker.ask(node, request).await,
            Protocol::Redis => self.redis.ask(node, request).await,
        }
    }

    /// Several requests, sent together, with their answers in order. Over Redis only.
    pub async fn pipeline(&mut self, node: &Address, requests: &[Request]) -> Vec<Reply> {
        self.redis.pipeline(node, requests).await
    }

    /// A condition that holds as long as a key is as this client saw it last.
    pub fn seen(&self, key: &str) -> Condition {
        let nothing = match self.protocol {
            Protocol::Http => Condition::Revision(None),
            Protocol::Redis => Condition::Value(None),
        };
        self.seen.get(key).cloned().unwrap_or(nothing)
    }

    /// One operation from its begin to its end, at any node.
    pub async fn perform(&mut self, planned: Planned) {
        let begun = self.begin(planned.key.clone());
        let reply = self.ask(&begun.node, &planned.request).await;
        self.settle(planned, begun, &reply);
    }

    /// The operation's time ends.
    pub fn settle(&mut self, planned: Planned, begun: Begun, reply: &Reply) {
        let now_ns = self.shared.now_ns();
        self.settle_at(planned, begun, reply, now_ns);
    }

    /// The operation's time ended then.
    pub fn settle_at(&mut self, planned: Planned, begun: Begun, reply: &Reply, now_ns: u64) {
        self.note_seen(&planned, reply);
        if planned.workload == Workload::Session {
            self.floor = self.floor.max(reply.index.unwrap_or(0));
        }
        let result = planned.result(reply);
        let Planned { workload, op, argument, .. } = planned;
        self.record_at(workload, begun, (op, argument, result), reply, now_ns);
    }

    fn note_seen(&mut self, Planned { key, request, .. }: &Planned, reply: &Reply) {
        let saw = match (self.protocol, request) {
            (Protocol::Http, _) if reply.failed_with("precondition_failed") => {
                Condition::Revision(reply.revision)
            }
            _ if !reply.is_ok() => return,
            (Protocol::Http, Request::Delete { .. }) => Condition::Revision(None),
            (Protocol::Http, _) => Condition::Revision(reply.revision),
            (Protocol::Redis, Request::Get { .. }) => Condition::Value(text(&reply.answer)),
            (Protocol::Redis, Request::GetAll { .. }) => Condition::Value(text(&reply.answer[0])),
            (Protocol::Redis, Request::Put { value, .. } | Request::PutAll { value, .. }) => {
                Condition::Value(Some(value.clone()))
            }
            (Protocol::Redis, Request::Delete { .. }) => Condition::Value(None),
            (Protocol::Redis, _) => return,
        };
        self.seen.insert(key.clone(), saw);
    }

    /// The operation's time ends, unless nobody knows what came of it.
    pub fn record(
        &mut self,
        workload: Workload,
        begun: Begun,
        op: &'static str,
        argument: Value,
        result: Value,
        reply: &Reply,
    ) {
        let now_ns = self.shared.now_ns();
        self.record_at(workload, begun, (op, argument, result), reply, now_ns);
    }

    fn record_at(
        &mut self,
        workload: Workload,
        begun: Begun,
        (op, argument, result): (&'static str, Value, Value),
        reply: &Reply,
        now: u64,
    ) {
        let is_write = op != "read" && op != "left";
        let known = reply.outcome != Outcome::Unknown;
        self.was_answered = reply.outcome == Outcome::Ok;
        let operation = Operation {
            client: self.id,
            node: match self.protocol {
                Protocol::Http => begun.node.name,
                Protocol::Redis => format!("{}{REDIS}", begun.node.name),
            },
            key: begun.key,
            op: op.to_owned(),
            argument,
            result,
            revision: reply.revision,
            index: reply.index,
            call_ns: begun.call_ns,
            return_ns: known.then_some(now),
            outcome: reply.outcome,
            error: reply.error.clone(),
        };
        if is_write && reply.outcome == Outcome::Ok {
            self.shared.acknowledged.lock().expect("no panic while held").push(now);
        }
        if !known {
            // This operation goes on for ever, and a client does one thing at a time.
            self.id = self.shared.clients.fetch_add(1, Ordering::Relaxed);
            if is_write {
                let mut keys = self.shared.keys.lock().expect("no panic while held");
                keys.entry(workload).or_default().unknown += 1;
            }
        }
        self.shared
            .recorded
            .lock()
            .expect("no panic while held")
            .entry(workload)
            .or_default()
            .push(operation);
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}
