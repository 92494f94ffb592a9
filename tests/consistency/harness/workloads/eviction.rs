//! More keys than there is room for, and a cache whose policy and size change under it. What is there at any moment
//! is for the replicas to agree on: they are compared by digest, and the log is played again on a naive model.

use super::Workload;
use crate::harness::client::Ask;
use crate::harness::load::{Begun, Client};
use reqwest::Method;
use serde_json::{Value, json};

const W: Workload = Workload::Eviction;
/// Keys in use; the cache has room for a quarter of them or less.
const KEYS: u32 = 400;
/// The most entries there is room for at any time.
pub const ROOM: u64 = 100;
const POLICIES: [&str; 4] = ["lru", "lfu", "s3fifo", "noeviction"];

pub async fn step(client: &mut Client) {
    // Few keys are used often, many seldom.
    let skewed = client.random.f64().powi(3) * f64::from(KEYS);
    let begun = client.begin(format!("e{}", skewed as u32));
    let path = format!("/v1/kv/{}", begun.key);
    let value = client.unique();
    match client.random.u16(..1_000) {
        0..550 => send(client, begun, "read", Ask::new(Method::GET, path)).await,
        550..800 => send(client, begun, "put", Ask::new(Method::PUT, path).body(value.to_string())).await,
        800..860 => {
            let ttl_ms = client.random.u64(50..2_000);
            let sliding = client.random.bool();
            let path = format!("{path}?ttl_ms={ttl_ms}&sliding={sliding}");
            send(client, begun, "put", Ask::new(Method::PUT, path).body(value.to_string())).await;
        }
        860..920 => {
            let incr = Ask::new(Method::POST, format!("/v1/kv/n{}/incr", begun.key)).body("{}");
            send(client, begun, "incr", incr).await;
        }
        920..960 => send(client, begun, "delete", Ask::new(Method::DELETE, path)).await,
        960..980 => batch(client, begun).await,
        980..985 => {
            let prefix = format!("/v1/kv?prefix={}", begun.key);
            send(client, begun, "clear", Ask::new(Method::DELETE, prefix)).await;
        }
        985..992 => {
            let policy = POLICIES[client.random.usize(..POLICIES.len())];
            configure(client, begun, json!({"policy": policy})).await;
        }
        _ => {
            let entries = client.random.u64(ROOM / 2..=ROOM);
            configure(client, begun, json!({"capacity_entries": entries})).await;
        }
    }
}

async fn batch(client: &mut Client, begun: Begun) {
    let other = format!("{}x", begun.key);
    let ops = json!([
        {"op": "get", "key": begun.key},
        {"op": "put", "key": other, "value": "y", "ttl_ms": 500},
        {"op": "incr", "key": format!("n{}", begun.key), "by": 2},
    ]);
    let ask = Ask::new(Method::POST, "/v1/batch").body(json!({"ops": ops}).to_string());
    send(client, begun, "batch", ask).await;
}

async fn configure(client: &mut Client, begun: Begun, change: Value) {
    send(client, begun, "configure", Ask::new(Method::PUT, "/v1/config").body(change.to_string())).await;
}

async fn send(client: &mut Client, begun: Begun, op: &str, ask: Ask) {
    let mut reply = client.ask(&begun.node, &ask).await;
    super::absence_is_an_answer(&mut reply);
    let result = if reply.is_ok() { Value::String(reply.text()) } else { Value::Null };
    client.record(W, begun, op, Value::String(ask.body), result, &reply);
}
