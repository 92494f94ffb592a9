//! One key that is written, conditionally written, deleted and read, through any node.

use super::{Workload, absence_is_an_answer, number};
use crate::harness::client::Ask;
use crate::harness::load::{Begun, Client};
use reqwest::Method;
use serde_json::{Value, json};

const W: Workload = Workload::Register;

pub async fn step(client: &mut Client) {
    let key = client.key(W);
    let begun = client.begin(key);
    match client.random.u8(..20) {
        0..8 => {
            let lease = client.random.u8(..5) == 0;
            read(client, begun, lease).await;
        }
        8..13 => write(client, begun).await,
        13..19 => cas(client, begun).await,
        _ => delete(client, begun).await,
    }
}

/// A linearizable read; by the leader's lease it must be one as well, since clocks here tick alike.
pub async fn read(client: &mut Client, begun: Begun, lease: bool) {
    let level = if lease { "?consistency=lease" } else { "" };
    let ask = Ask::new(Method::GET, format!("/v1/kv/{}{level}", begun.key));
    let mut reply = client.ask(&begun.node, &ask).await;
    absence_is_an_answer(&mut reply);
    let result = number(&reply);
    if reply.is_ok() {
        client.seen.insert(begun.key.clone(), reply.revision);
    }
    client.record(W, begun, "read", Value::Null, result, &reply);
}

async fn write(client: &mut Client, begun: Begun) {
    let value = client.unique();
    let ask = Ask::new(Method::PUT, format!("/v1/kv/{}", begun.key)).body(value.to_string());
    let reply = client.ask(&begun.node, &ask).await;
    if reply.is_ok() {
        client.seen.insert(begun.key.clone(), reply.revision);
    }
    client.record(W, begun, "write", json!(value), Value::Null, &reply);
}

/// Over the revision that this client saw last, or over nothing.
async fn cas(client: &mut Client, begun: Begun) {
    let value = client.unique();
    let expected = client.seen.get(&begun.key).copied().flatten();
    let ask = Ask::new(Method::PUT, format!("/v1/kv/{}", begun.key)).body(value.to_string());
    let ask = match expected {
        Some(revision) => ask.header("If-Match", format!("\"{revision}\"")),
        None => ask.header("If-None-Match", "*"),
    };
    let reply = client.ask(&begun.node, &ask).await;
    if reply.is_ok() || reply.error.as_deref() == Some("precondition_failed") {
        client.seen.insert(begun.key.clone(), reply.revision);
    }
    let argument = json!({"revision": expected, "value": value});
    client.record(W, begun, "cas", argument, Value::Null, &reply);
}

async fn delete(client: &mut Client, begun: Begun) {
    let ask = Ask::new(Method::DELETE, format!("/v1/kv/{}", begun.key));
    let mut reply = client.ask(&begun.node, &ask).await;
    if reply.is_ok() {
        reply.revision = reply.index;
        client.seen.insert(begun.key.clone(), None);
    }
    client.record(W, begun, "delete", Value::Null, Value::Null, &reply);
}
