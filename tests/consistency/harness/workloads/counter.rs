//! A counter whose increments carry idempotency keys and are repeated, through other nodes, until they are answered:
//! each must count once.

use super::{Workload, read_number};
use crate::harness::client::Ask;
use crate::harness::load::{Begun, Client};
use lockstep::check::Outcome;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const W: Workload = Workload::Counter;
const TRIES: u32 = 4;

pub async fn step(client: &mut Client) {
    let key = client.key(W);
    let begun = client.begin(key);
    if client.random.u8(..3) == 0 { read(client, begun).await } else { add(client, begun).await }
}

pub async fn read(client: &mut Client, begun: Begun) {
    read_number(W, client, begun).await;
}

async fn add(client: &mut Client, mut begun: Begun) {
    let by = client.random.i64(1..10);
    let ask = Ask::new(Method::POST, format!("/v1/kv/{}/incr", begun.key))
        .header("Idempotency-Key", format!("add-{}", client.unique()))
        .body(json!({"by": by}).to_string());
    let mut in_doubt = false;
    let mut tries = 0;
    let mut reply = loop {
        let reply = client.ask(&begun.node, &ask).await;
        tries += 1;
        in_doubt |= reply.outcome == Outcome::Unknown;
        if reply.is_ok() || tries == TRIES {
            break reply;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        begun.node = client.shared.directory.any(&mut client.random);
    };
    if !reply.is_ok() && in_doubt {
        // A later refusal does not undo an earlier try.
        reply.outcome = Outcome::Unknown;
    }
    let (mut result, body) = (Value::Null, reply.json());
    if reply.is_ok() {
        result = body["value"].clone();
        reply.revision = body["revision"].as_u64();
    }
    client.record(W, begun, "add", json!(by), result, &reply);
}
