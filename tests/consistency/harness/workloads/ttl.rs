//! Values that expire: never gone before their time, never seen after it.

use super::{Workload, read_number};
use crate::harness::client::Ask;
use crate::harness::load::{Begun, Client};
use reqwest::Method;
use serde_json::{Value, json};

const W: Workload = Workload::Ttl;

pub async fn step(client: &mut Client) {
    let key = client.key(W);
    let begun = client.begin(key);
    match client.random.u8(..20) {
        0..15 => read(client, begun).await,
        15..19 => put(client, begun).await,
        _ => delete(client, begun).await,
    }
}

pub async fn read(client: &mut Client, begun: Begun) {
    read_number(W, client, begun).await;
}

async fn put(client: &mut Client, begun: Begun) {
    let value = client.unique();
    let ttl_ms = client.random.u64(200..3_000);
    let ask = Ask::new(Method::PUT, format!("/v1/kv/{}?ttl_ms={ttl_ms}", begun.key)).body(value.to_string());
    let reply = client.ask(&begun.node, &ask).await;
    let argument = json!({"value": value, "ttl_ms": ttl_ms});
    client.record(W, begun, "put", argument, Value::Null, &reply);
}

async fn delete(client: &mut Client, begun: Begun) {
    let ask = Ask::new(Method::DELETE, format!("/v1/kv/{}", begun.key));
    let mut reply = client.ask(&begun.node, &ask).await;
    if reply.is_ok() {
        reply.revision = reply.index;
    }
    client.record(W, begun, "delete", Value::Null, Value::Null, &reply);
}
