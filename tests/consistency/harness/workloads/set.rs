//! A set: its elements are keys under one prefix, added one by one and listed together.

use super::{Planned, Workload};
use crate::harness::ask::Request;
use crate::harness::load::Client;
use serde_json::json;

const W: Workload = Workload::Set;

pub fn plan(client: &mut Client) -> Planned {
    let key = client.key(W);
    if client.random.bool() {
        return read(&key);
    }
    let element = client.unique();
    Planned::change(W, &key, "add", json!(element), Request::put(format!("{key}:{element}"), "x"))
}

pub fn read(key: &str) -> Planned {
    Planned::read(W, key, Request::Members { prefix: format!("{key}:"), walk: false })
}
