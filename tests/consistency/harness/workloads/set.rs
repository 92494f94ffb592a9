//! A set: its elements are keys under one prefix, added one by one and listed together.

use super::Workload;
use crate::harness::client::Ask;
use crate::harness::load::{Begun, Client};
use reqwest::Method;
use serde_json::{Value, json};

const W: Workload = Workload::Set;

pub async fn step(client: &mut Client) {
    let key = client.key(W);
    let begun = client.begin(key);
    if client.random.bool() { read(client, begun).await } else { add(client, begun).await }
}

pub async fn read(client: &mut Client, begun: Begun) {
    let ask = Ask::new(Method::GET, format!("/v1/keys?prefix={}:&limit=10000", begun.key));
    let reply = client.ask(&begun.node, &ask).await;
    let prefix = begun.key.len() + 1;
    let element = |listed: &Value| listed["key"].as_str()?.get(prefix..)?.parse::<u64>().ok();
    let body = reply.json();
    let elements: Vec<u64> = body["keys"].as_array().into_iter().flatten().filter_map(element).collect();
    client.record(W, begun, "read", Value::Null, json!(elements), &reply);
}

async fn add(client: &mut Client, begun: Begun) {
    let element = client.unique();
    let ask = Ask::new(Method::PUT, format!("/v1/kv/{}:{element}", begun.key)).body("x");
    let reply = client.ask(&begun.node, &ask).await;
    client.record(W, begun, "add", json!(element), Value::Null, &reply);
}
