//! The clients: each does one thing after another, chosen at random among the workloads, and everything it was
//! told is recorded.

use super::client::{Ask, Asker, Reply};
use super::cluster::{Address, Directory};
use super::workloads::{self, Workload};
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
    tasks: JoinSet<()>,
}

impl Load {
    /// Starts so many clients. `mix` says how often each workload gets a turn.
    pub fn start(
        directory: &Directory,
        begun: Instant,
        mix: &[(Workload, u32)],
        clients: u64,
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
            stop: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        for number in 0..clients {
            let random = fastrand::Rng::with_seed(seed.wrapping_mul(0x9E37_79B9).wrapping_add(number));
            let mut client = Client::new(shared.clone(), random);
            let mix = mix.to_vec();
            tasks.spawn(async move {
                while !client.shared.stop.load(Ordering::Acquire) {
                    let workload = choose(&mix, &mut client.random);
                    workloads::step(workload, &mut client).await;
                    let think = Duration::from_millis(client.random.u64(2..20));
                    tokio::time::sleep(think).await;
                }
            });
        }
        Self { shared, tasks }
    }

    /// Stops the clients, lets each finish what it does, and reads what there is at the end through every node, with
    /// less patience where all is `hopeless`. An error is what could not be read.
    pub async fn finish(mut self, hopeless: bool) -> (Recorded, Result<(), String>) {
        self.shared.stop.store(true, Ordering::Release);
        while self.tasks.join_next().await.is_some() {}
        let mut reader = Client::new(self.shared.clone(), fastrand::Rng::with_seed(0));
        let read = workloads::final_reads(&mut reader, hopeless).await;
        (std::mem::take(&mut *self.shared.recorded.lock().expect("no panic while held")), read)
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
    pub id: u64,
    /// Revisions this client saw last, by key.
    pub seen: BTreeMap<String, Option<u64>>,
    /// The newest index it was told of by a workload about sessions.
    pub floor: u64,
    /// Whether its last operation was.
    pub was_answered: bool,
}

/// An operation that has begun.
pub struct Begun {
    pub node: Address,
    pub key: String,
    call_ns: u64,
}

impl Client {
    fn new(shared: Arc<Shared>, random: fastrand::Rng) -> Self {
        let id = shared.clients.fetch_add(1, Ordering::Relaxed);
        Self { shared, random, id, seen: BTreeMap::new(), floor: 0, was_answered: false }
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

    pub async fn ask(&self, node: &Address, ask: &Ask) -> Reply {
        self.shared.asker.ask(node, ask).await
    }

    /// The operation's time ends, unless nobody knows what came of it.
    pub fn record(
        &mut self,
        workload: Workload,
        begun: Begun,
        op: &str,
        argument: Value,
        result: Value,
        reply: &Reply,
    ) {
        let is_write = op != "read";
        let known = reply.outcome != Outcome::Unknown;
        self.was_answered = reply.outcome == Outcome::Ok;
        let now = self.shared.now_ns();
        let operation = Operation {
            client: self.id,
            node: begun.node.name,
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
