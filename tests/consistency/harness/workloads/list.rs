//! A list in one key. To append is to read it and to write it, longer by one, over the revision that was read.

use super::{Workload, absence_is_an_answer};
use crate::harness::client::{Ask, Reply};
use crate::harness::load::{Begun, Client};
use reqwest::Method;
use serde_json::{Value, json};

const W: Workload = Workload::List;

pub async fn step(client: &mut Client) {
    let key = client.key(W);
    let begun = client.begin(key);
    if client.random.bool() { read(client, begun).await } else { append(client, begun).await }
}

pub async fn read(client: &mut Client, begun: Begun) {
    let (reply, list) = get(client, &begun).await;
    client.record(W, begun, "read", Value::Null, json!(list), &reply);
}

async fn append(client: &mut Client, begun: Begun) {
    let (read, mut list) = get(client, &begun).await;
    if !read.is_ok() {
        return;
    }
    let element = client.unique();
    list.push(element);
    let text = list.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    let ask = Ask::new(Method::PUT, format!("/v1/kv/{}", begun.key)).body(text);
    let ask = match read.revision {
        Some(revision) => ask.header("If-Match", format!("\"{revision}\"")),
        None => ask.header("If-None-Match", "*"),
    };
    let mut reply = client.ask(&begun.node, &ask).await;
    let result = if reply.is_ok() { json!(list) } else { Value::Null };
    if !reply.is_ok() {
        // What is there now is another list; this operation says nothing about it.
        reply.revision = None;
    }
    client.record(W, begun, "append", json!(element), result, &reply);
}

async fn get(client: &Client, begun: &Begun) -> (Reply, Vec<u64>) {
    let ask = Ask::new(Method::GET, format!("/v1/kv/{}", begun.key));
    let mut reply = client.ask(&begun.node, &ask).await;
    absence_is_an_answer(&mut reply);
    let text = if reply.is_ok() && reply.status == 200 { reply.text() } else { String::new() };
    // What is no number is an element that nobody appended.
    (reply, text.split_whitespace().map(|number| number.parse().unwrap_or(0)).collect())
}
