//! Three keys that are always written together, and read together: nobody may see half of a batch.

use super::register::cas_argument;
use super::{Planned, Workload};
use crate::harness::ask::{Condition, Request};
use crate::harness::load::Client;
use serde_json::json;

const W: Workload = Workload::Batch;
const PARTS: [&str; 3] = ["a", "b", "c"];

pub fn plan(client: &mut Client) -> Planned {
    let key = client.key(W);
    let value = client.unique();
    let on = client.random.usize(..PARTS.len());
    let put =
        |condition: Condition| Request::PutAll { keys: parts(&key), value: value.to_string(), condition, on };
    match client.random.u8(..3) {
        0 => read(&key),
        1 => Planned::change(W, &key, "write", json!(value), put(Condition::Always)),
        // Under a condition on one of them.
        _ => {
            let condition = client.seen(&key);
            let argument = cas_argument(&condition, value);
            Planned::change(W, &key, "cas", argument, put(condition))
        }
    }
}

pub fn read(key: &str) -> Planned {
    Planned::read(W, key, Request::GetAll { keys: parts(key) })
}

fn parts(key: &str) -> Vec<String> {
    PARTS.map(|part| format!("{key}:{part}")).to_vec()
}
