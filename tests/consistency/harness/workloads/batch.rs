//! Three keys that are always written together, and read together: nobody may see half of a batch.

use super::Workload;
use crate::harness::client::Ask;
use crate::harness::load::{Begun, Client};
use reqwest::Method;
use serde_json::{Value, json};

const W: Workload = Workload::Batch;
const PARTS: [&str; 3] = ["a", "b", "c"];

pub async fn step(client: &mut Client) {
    let key = client.key(W);
    let begun = client.begin(key);
    match client.random.u8(..3) {
        0 => read(client, begun).await,
        1 => write(client, begun).await,
        _ => cas(client, begun).await,
    }
}

pub async fn read(client: &mut Client, begun: Begun) {
    let ops = PARTS.map(|part| json!({"op": "get", "key": format!("{}:{part}", begun.key)}));
    let ask = Ask::new(Method::POST, "/v1/batch").body(json!({"ops": ops}).to_string());
    let mut reply = client.ask(&begun.node, &ask).await;
    let body = reply.json();
    let part = |position: usize, field: &str| body["results"][position][field].clone();
    let number = |position| part(position, "value").as_str().and_then(|text| text.parse::<u64>().ok());
    let whole = (1..PARTS.len())
        .all(|position| number(position) == number(0) && part(position, "revision") == part(0, "revision"));
    // Parts that differ are a value that nobody wrote.
    let result = if whole { json!(number(0)) } else { json!([number(0), number(1), number(2)]) };
    reply.revision = part(0, "revision").as_u64();
    if reply.is_ok() {
        client.seen.insert(begun.key.clone(), reply.revision);
    }
    client.record(W, begun, "read", Value::Null, result, &reply);
}

async fn write(client: &mut Client, begun: Begun) {
    let value = client.unique();
    let ops = PARTS
        .map(|part| json!({"op": "put", "key": format!("{}:{part}", begun.key), "value": value.to_string()}));
    put(client, begun, "write", json!(value), &json!(ops)).await;
}

/// Under a condition on one of them.
async fn cas(client: &mut Client, begun: Begun) {
    let value = client.unique();
    let expected = client.seen.get(&begun.key).copied().flatten();
    let mut ops = PARTS
        .map(|part| json!({"op": "put", "key": format!("{}:{part}", begun.key), "value": value.to_string()}));
    let conditional = client.random.usize(..PARTS.len());
    match expected {
        Some(revision) => ops[conditional]["if_revision"] = json!(revision),
        None => ops[conditional]["if_absent"] = json!(true),
    }
    let argument = json!({"revision": expected, "value": value});
    put(client, begun, "cas", argument, &json!(ops)).await;
}

async fn put(client: &mut Client, begun: Begun, op: &str, argument: Value, ops: &Value) {
    let ask = Ask::new(Method::POST, "/v1/batch").body(json!({"ops": ops}).to_string());
    let mut reply = client.ask(&begun.node, &ask).await;
    if reply.is_ok() {
        reply.revision = reply.json()["revision"].as_u64();
    }
    if reply.is_ok() || reply.error.as_deref() == Some("precondition_failed") {
        client.seen.insert(begun.key.clone(), reply.revision);
    }
    client.record(W, begun, op, argument, Value::Null, &reply);
}
