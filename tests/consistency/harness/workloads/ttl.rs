//! Values that expire: never gone before their time, never seen after it.

use super::{Planned, Workload};
use crate::harness::ask::{Condition, Protocol, Request};
use crate::harness::load::Client;
use serde_json::{Value, json};

const W: Workload = Workload::Ttl;

pub fn plan(client: &mut Client) -> Planned {
    let key = client.key(W);
    let ttl_ms = client.random.u64(200..3_000);
    match client.random.u8(..20) {
        0..12 => read(&key),
        12..14 if client.protocol == Protocol::Redis => {
            let left = Request::Left { key: key.clone() };
            Planned { op: "left", ..Planned::read(W, &key, left) }
        }
        12..14 => read(&key),
        14..18 => {
            let value = client.unique();
            let argument = json!({"value": value, "ttl_ms": ttl_ms});
            let (condition, ttl_ms) = (Condition::Always, Some(ttl_ms));
            let value = value.to_string();
            let put = Request::Put { key: key.clone(), value, condition, ttl_ms, sliding: false };
            Planned::change(W, &key, "put", argument, put)
        }
        18 => {
            let expire = Request::Expire { key: key.clone(), ttl_ms };
            Planned::change(W, &key, "expire", json!({"ttl_ms": ttl_ms}), expire)
        }
        _ => Planned::change(W, &key, "delete", Value::Null, Request::Delete { key: key.clone() }),
    }
}

pub fn read(key: &str) -> Planned {
    Planned::read(W, key, Request::get(key))
}
