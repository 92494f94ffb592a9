//! A client that goes from node to node and asks each for what it has, but nothing older than what the client has
//! seen: it reads its own writes, and time never runs backwards for it.

use super::{Workload, absence_is_an_answer, number};
use crate::harness::client::Ask;
use crate::harness::load::{Begun, Client};
use reqwest::Method;
use serde_json::{Value, json};

const W: Workload = Workload::Session;

pub async fn step(client: &mut Client) {
    let key = client.key(W);
    let begun = client.begin(key);
    if client.random.u8(..3) == 0 { write(client, begun).await } else { read(client, begun).await }
}

pub async fn read(client: &mut Client, begun: Begun) {
    let floor = client.floor;
    let path = format!("/v1/kv/{}?consistency=stale&min_index={floor}", begun.key);
    let mut reply = client.ask(&begun.node, &Ask::new(Method::GET, path)).await;
    absence_is_an_answer(&mut reply);
    let result = number(&reply);
    client.floor = floor.max(reply.index.unwrap_or(0));
    client.record(W, begun, "read", json!({"min_index": floor}), result, &reply);
}

async fn write(client: &mut Client, begun: Begun) {
    let value = client.unique();
    let ask = Ask::new(Method::PUT, format!("/v1/kv/{}", begun.key)).body(value.to_string());
    let reply = client.ask(&begun.node, &ask).await;
    client.floor = client.floor.max(reply.index.unwrap_or(0));
    client.record(W, begun, "write", json!({"value": value}), Value::Null, &reply);
}
