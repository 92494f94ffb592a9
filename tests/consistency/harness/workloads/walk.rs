//! Keys under one prefix that are added, deleted and added again, while others walk over them.

use super::{Planned, Workload};
use crate::harness::ask::Request;
use crate::harness::load::Client;
use serde_json::json;

const W: Workload = Workload::Walk;
/// Members that may be there.
const MEMBERS: u64 = 24;

pub fn plan(client: &mut Client) -> Planned {
    let key = client.key(W);
    let member = client.random.u64(..MEMBERS);
    let place = format!("{key}:{member}");
    match client.random.u8(..10) {
        0..3 => read(&key),
        3..8 => Planned::change(W, &key, "add", json!(member), Request::put(place, "x")),
        _ => Planned::change(W, &key, "remove", json!(member), Request::Delete { key: place }),
    }
}

pub fn read(key: &str) -> Planned {
    Planned::read(W, key, Request::Members { prefix: format!("{key}:"), walk: true })
}
