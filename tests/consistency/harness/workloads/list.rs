//! A list in one key. To append is to read it and to write it, longer by one, over what was read: over its revision, or as
//! a transaction on a key that is watched.

use super::{Planned, Workload};
use crate::harness::ask::{Condition, Protocol, Reply, Request};
use crate::harness::load::{Begun, Client};
use serde_json::{Value, json};

const W: Workload = Workload::List;

pub async fn step(client: &mut Client) {
    let key = client.key(W);
    if client.random.bool() {
        client.perform(read(&key)).await;
    } else {
        let begun = client.begin(key);
        append(client, begun).await;
    }
}

pub fn read(key: &str) -> Planned {
    Planned::read(W, key, Request::get(key))
}

async fn append(client: &mut Client, begun: Begun) {
    let read = client.ask(&begun.node, &Request::GetToChange { key: begun.key.clone() }).await;
    if !read.is_ok() {
        return;
    }
    let mut list = items(&read);
    let element = client.unique();
    list.push(element);
    let text = list.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    let condition = match client.protocol {
        Protocol::Http => Condition::Revision(read.revision),
        Protocol::Redis => Condition::Watched,
    };
    let put = Request::put_if(&begun.key, text, condition);
    let mut reply = client.ask(&begun.node, &put).await;
    let result = if reply.is_ok() { json!(list) } else { Value::Null };
    if !reply.is_ok() {
        // What is there now is another list; this operation says nothing about it.
        reply.revision = None;
    }
    client.record(W, begun, "append", json!(element), result, &reply);
}

/// The list in an answer. What is no number is an element that nobody appended.
pub fn items(reply: &Reply) -> Vec<u64> {
    let text = reply.answer.as_str().unwrap_or_default();
    text.split_whitespace().map(|number| number.parse().unwrap_or(0)).collect()
}
