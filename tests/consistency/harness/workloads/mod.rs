//! What clients do, one workload a file. Each has keys of its own, which are left for new ones after a while.

mod batch;
mod counter;
pub mod eviction;
mod list;
mod register;
mod session;
mod set;
mod ttl;

use super::client::{Ask, Reply};
use super::load::{Begun, Client};
use lockstep::check::{ModelName, Outcome};
use reqwest::Method;
use serde_json::Value;
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
    /// More keys than there is room for.
    Eviction,
}

/// All that are checked by a model, with how often each gets a turn.
pub const CHECKED: [(Workload, u32); 7] = [
    (Workload::Register, 6),
    (Workload::Counter, 3),
    (Workload::List, 3),
    (Workload::Set, 2),
    (Workload::Ttl, 4),
    (Workload::Session, 3),
    (Workload::Batch, 3),
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
            Self::Eviction => "eviction",
        }
    }

    /// How its history is checked; `None` for what may lose keys at any time.
    pub fn model(self) -> Option<ModelName> {
        Some(match self {
            // Keys that are written together are one register.
            Self::Register | Self::Batch => ModelName::Register,
            Self::Counter => ModelName::Counter,
            Self::List => ModelName::List,
            Self::Set => ModelName::Set,
            Self::Ttl => ModelName::Ttl,
            Self::Session => ModelName::Session,
            Self::Eviction => return None,
        })
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

/// One operation of a client.
pub async fn step(workload: Workload, client: &mut Client) {
    match workload {
        Workload::Register => register::step(client).await,
        Workload::Counter => counter::step(client).await,
        Workload::List => list::step(client).await,
        Workload::Set => set::step(client).await,
        Workload::Ttl => ttl::step(client).await,
        Workload::Session => session::step(client).await,
        Workload::Batch => batch::step(client).await,
        Workload::Eviction => eviction::step(client).await,
    }
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
        for (workload, _) in CHECKED {
            for key in client.shared.keys_so_far(workload) {
                while !final_read(client, workload, client.begin_at(key.clone(), node.clone())).await {
                    if Instant::now() > deadline {
                        return Err(format!("at the end {} does not serve {key}", node.name));
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
    match workload {
        Workload::Register => register::read(client, begun, false).await,
        Workload::Counter => counter::read(client, begun).await,
        Workload::List => list::read(client, begun).await,
        Workload::Set => set::read(client, begun).await,
        Workload::Ttl => ttl::read(client, begun).await,
        Workload::Session => session::read(client, begun).await,
        Workload::Batch => batch::read(client, begun).await,
        Workload::Eviction => return true,
    }
    client.was_answered
}

/// A linearizable read of a number.
async fn read_number(workload: Workload, client: &mut Client, begun: Begun) {
    let ask = Ask::new(Method::GET, format!("/v1/kv/{}", begun.key));
    let mut reply = client.ask(&begun.node, &ask).await;
    absence_is_an_answer(&mut reply);
    let result = number(&reply);
    client.record(workload, begun, "read", Value::Null, result, &reply);
}

/// What a read of a number found. What is no number is a value that nobody wrote.
fn number(reply: &Reply) -> Value {
    match reply.status {
        200 if reply.is_ok() => {
            reply.text().parse::<i64>().map_or_else(|_| Value::String(reply.text()), Value::from)
        }
        _ => Value::Null,
    }
}

/// A read of a key that is not there is a read like any other.
fn absence_is_an_answer(reply: &mut Reply) {
    if reply.is_absent() {
        reply.outcome = Outcome::Ok;
        reply.error = None;
        reply.revision = None;
    }
}
