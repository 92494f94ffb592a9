//! More keys than there is room for, and a cache whose policy and size change under it. What is there at any moment
//! is for the replicas to agree on: they are compared by digest, and the log is played again on a naive model.

use super::{Planned, Workload};
use crate::harness::ask::{Condition, Protocol, Request};
use crate::harness::http::Ask;
use crate::harness::load::Client;
use reqwest::Method;
use serde_json::{Value, json};

const W: Workload = Workload::Eviction;
/// Keys in use; the cache has room for a quarter of them or less.
const KEYS: u32 = 400;
/// The most entries there is room for at any time.
pub const ROOM: u64 = 100;
const POLICIES: [&str; 4] = ["lru", "lfu", "s3fifo", "noeviction"];

pub fn plan(client: &mut Client) -> Planned {
    // Few keys are used often, many seldom.
    let skewed = client.random.f64().powi(3) * f64::from(KEYS);
    let key = format!("e{}", skewed as u32);
    let change = |op: &'static str, request: Request| Planned::change(W, &key, op, Value::Null, request);
    let value = client.unique();
    match client.random.u16(..1_000) {
        0..550 => Planned::read(W, &key, Request::get(&key)),
        550..800 => change("put", Request::put(&key, value)),
        800..860 => {
            let ttl_ms = Some(client.random.u64(50..2_000));
            let (key, value, sliding) = (key.clone(), value.to_string(), client.random.bool());
            change("put", Request::Put { key, value, condition: Condition::Always, ttl_ms, sliding })
        }
        860..920 => change("incr", Request::Add { key: format!("n{key}"), by: 1, id: None }),
        920..960 => change("delete", Request::Delete { key: key.clone() }),
        960..980 => {
            let (put, add) = (format!("{key}x"), format!("n{key}"));
            change("batch", Request::Mix { read: key.clone(), put, add })
        }
        _ if client.protocol == Protocol::Redis => change("put", Request::put(&key, value)),
        980..985 => {
            let path = format!("/v1/kv?prefix={key}");
            change("clear", Request::Http(Ask::new(Method::DELETE, path)))
        }
        985..992 => {
            let policy = POLICIES[client.random.usize(..POLICIES.len())];
            change("configure", configure(&json!({"policy": policy})))
        }
        _ => {
            let entries = client.random.u64(ROOM / 2..=ROOM);
            change("configure", configure(&json!({"capacity_entries": entries})))
        }
    }
}

fn configure(change: &Value) -> Request {
    Request::Http(Ask::new(Method::PUT, "/v1/config").body(change.to_string()))
}
