//! What clients do, one workload a file. Each has keys of its own, which are left for new ones after a while.

mod batch;
mod counter;
pub mod eviction;
mod list;
pub mod pipeline;
mod register;
mod session;
mod set;
mod ttl;
mod walk;

use super::ask::{Protocol, Reply, Request};
use super::load::{Begun, Client};
use lockstep::check::ModelName;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long reading everything through every node may take.
const FINAL_READS_LIMIT: Duration = Duration::from_secs(60);
/// The same where it is known already that something is wrong: a node may never serve again.
const HOPELESS_READS_LIMIT: Duration = Duration::from_secs(10);

/// A kind of use, and with it the model that its history is checked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Workload {
    /// Writes, conditional writes, deletes and reads of one key.
    Register,
    /// Increments that are repeated until they are answered.
    Counter,
    /// A list in one key that grows by read, append, conditional write.
    List,
    /// Keys under one prefix that are added and listed.
    Set,
    /// Values that expire.
    Ttl,
    /// Stale reads that follow a client from node to node.
    Session,
    /// Several keys that are always written and read together.
    Batch,
    /// Keys under one prefix that come and go while others walk over them.
    Walk,
    /// Several commands that are sent together.
    Pipeline,
    /// More keys than there is room for.
    Eviction,
}

/// All that are checked by a model, with how often each gets a turn.
pub const CHECKED: [(Workload, u32); 9] = [
    (Workload::Register, 6),
    (Workload::Counter, 3),
    (Workload::List, 3),
    (Workload::Set, 2),
    (Workload::Ttl, 4),
    (Workload::Session, 3),
    (Workload::Batch, 3),
    (Workload::Walk, 3),
    (Workload::Pipeline, 4),
];

impl Workload {
    pub fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Counter => "counter",
            Self::List => "list",
            Self::Set => "set",
            Self::Ttl => "ttl",
            Self::Session => "session",
            Self::Batch => "batch",
            Self::Walk => "walk",
            Self::Pipeline => "pipeline",
            Self::Eviction => "eviction",
        }
    }

    /// How its history is checked; `None` for what may lose keys at any time.
    pub fn model(self) -> Option<ModelName> {
        Some(match self {
            // Keys that are written together are one register.
            Self::Register | Self::Batch | Self::Pipeline => ModelName::Register,
            Self::Counter => ModelName::Counter,
            Self::List => ModelName::List,
            Self::Set => ModelName::Set,
            Self::Ttl => ModelName::Ttl,
            Self::Session => ModelName::Session,
            Self::Walk => ModelName::Walk,
            Self::Eviction => return None,
        })
    }

    /// Whether clients of this protocol have it.
    pub fn is_for(self, protocol: Protocol) -> bool {
        match self {
            // Redis' replies do not name the revisions that it is judged by.
            Self::Session => protocol == Protocol::Http,
            Self::Pipeline => protocol == Protocol::Redis,
            _ => true,
        }
    }

    /// Whether clients of this protocol can read its keys at the end.
    fn is_read_by(self, protocol: Protocol) -> bool {
        self != Self::Session || protocol == Protocol::Http
    }

    pub fn key(self, number: u64) -> String {
        format!("{}{number}", self.name())
    }

    /// A bound of its own on the operations of one key.
    pub fn operations_a_key(self) -> Option<u64> {
        // A list is written whole each time; a key that expires is over soon.
        matches!(self, Self::List | Self::Ttl).then_some(60)
    }
}

/// An operation that a client is about to begin: the words of its model, and the request.
#[derive(Debug, Clone)]
pub struct Planned {
    pub workload: Workload,
    pub key: String,
    pub op: &'static str,
    pub argument: Value,
    pub request: Request,
}

impl Planned {
    fn read(workload: Workload, key: &str, request: Request) -> Self {
        Self { workload, key: key.to_owned(), op: "read", argument: Value::Null, request }
    }

    fn change(workload: Workload, key: &str, op: &'static str, argument: Value, request: Request) -> Self {
        Self { workload, key: key.to_owned(), op, argument, request }
    }

    /// An answer in the words of the model.
    pub fn result(&self, reply: &Reply) -> Value {
        if !reply.is_ok() {
            return Value::Null;
        }
        match (self.workload, &self.request) {
            (Workload::List, _) if !reply.answer.is_null() => json!(list::items(reply)),
            (Workload::Eviction, _) => reply.answer.clone(),
            (_, Request::Get { .. }) => reply.answer.as_str().map_or(Value::Null, number),
            (_, Request::GetAll { .. }) => together(&reply.answer),
            (_, Request::Members { .. }) => {
                let members = reply.answer.as_array().into_iter().flatten();
                members.map(|member| member.as_str().map_or(Value::Null, number)).collect()
            }
            _ => reply.answer.clone(),
        }
    }
}

/// A value as a number. What is none is a value that nobody wrote.
pub fn number(text: &str) -> Value {
    text.parse::<i64>().map_or_else(|_| text.into(), Value::from)
}

/// The value of keys that are written together. Parts that differ are a value that nobody wrote.
fn together(values: &Value) -> Value {
    match values.as_array().map(Vec::as_slice) {
        Some([first, rest @ ..]) if rest.iter().all(|value| value == first) => {
            first.as_str().map_or(Value::Null, number)
        }
        _ => values.clone(),
    }
}

/// One operation of a client.
pub async fn step(workload: Workload, client: &mut Client) {
    let planned = match workload {
        Workload::Register => register::plan(client),
        Workload::Counter => return counter::step(client).await,
        Workload::List => return list::step(client).await,
        Workload::Pipeline => return pipeline::step(client).await,
        Workload::Set => set::plan(client),
        Workload::Ttl => ttl::plan(client),
        Workload::Session => session::plan(client),
        Workload::Batch => batch::plan(client),
        Workload::Walk => walk::plan(client),
        Workload::Eviction => eviction::plan(client),
    };
    client.perform(planned).await;
}

/// At the end, when all is whole again: every key once more, through every node. What was acknowledged and got lost
/// is missed here, even if nobody looked before.
///
/// # Errors
/// A node does not serve a key, however often it is asked.
pub async fn final_reads(client: &mut Client, hopeless: bool) -> Result<(), String> {
    let limit = if hopeless { HOPELESS_READS_LIMIT } else { FINAL_READS_LIMIT };
    let deadline = Instant::now() + limit;
    for node in client.shared.directory.all() {
        let protocol = client.protocol;
        for (workload, _) in CHECKED.into_iter().filter(|(workload, _)| workload.is_read_by(protocol)) {
            for key in client.shared.keys_so_far(workload) {
                while !final_read(client, workload, client.begin_at(key.clone(), node.clone())).await {
                    if Instant::now() > deadline {
                        let (name, protocol) = (&node.name, protocol.name());
                        return Err(format!("at the end {name} does not serve {key} over {protocol}"));
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
    Ok(())
}

/// Whether the read was answered.
async fn final_read(client: &mut Client, workload: Workload, begun: Begun) -> bool {
    let planned = match workload {
        Workload::Register => register::read(&begun.key),
        Workload::Counter => counter::read(&begun.key),
        Workload::List => list::read(&begun.key),
        Workload::Set => set::read(&begun.key),
        Workload::Ttl => ttl::read(&begun.key),
        Workload::Session => session::read(client, &begun.key),
        Workload::Batch => batch::read(&begun.key),
        Workload::Walk => walk::read(&begun.key),
        Workload::Pipeline => pipeline::read(&begun.key),
        Workload::Eviction => return true,
    };
    let mut reply = client.ask(&begun.node, &planned.request).await;
    if workload == Workload::Pipeline {
        // What one log entry did to a key has one revision.
        reply.revision = None;
    }
    client.settle(planned, begun, &reply);
    client.was_answered
}
