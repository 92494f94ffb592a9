//! One key that is written, conditionally written, deleted and read, through any node.

use super::{Planned, Workload};
use crate::harness::ask::{Condition, Level, Request};
use crate::harness::load::Client;
use serde_json::{Value, json};

const W: Workload = Workload::Register;

pub fn plan(client: &mut Client) -> Planned {
    let key = client.key(W);
    match client.random.u8(..20) {
        // By the leader's lease it must be a linearizable one as well, since clocks here tick alike.
        0..2 => Planned::read(W, &key, Request::Get { key: key.clone(), level: Level::Lease }),
        2..8 => read(&key),
        8..13 => write(client, &key),
        13..19 => cas(client, &key),
        _ => Planned::change(W, &key, "delete", Value::Null, Request::Delete { key: key.clone() }),
    }
}

pub fn read(key: &str) -> Planned {
    Planned::read(W, key, Request::get(key))
}

pub fn write(client: &Client, key: &str) -> Planned {
    let value = client.unique();
    Planned::change(W, key, "write", json!(value), Request::put(key, value))
}

/// Over what this client saw last, or over nothing.
fn cas(client: &Client, key: &str) -> Planned {
    let value = client.unique();
    let condition = client.seen(key);
    let argument = cas_argument(&condition, value);
    Planned::change(W, key, "cas", argument, Request::put_if(key, value, condition))
}

/// A condition in the words of the model.
pub fn cas_argument(condition: &Condition, value: u64) -> Value {
    match condition {
        Condition::Value(from) => {
            json!({"from": from.as_ref().map(|from| super::number(from)), "to": value})
        }
        Condition::Revision(revision) => json!({"revision": revision, "value": value}),
        Condition::Always | Condition::Watched => unreachable!("nothing is compared"),
    }
}
