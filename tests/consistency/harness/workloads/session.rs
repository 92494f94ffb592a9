//! A client that goes from node to node and asks each for what it has, but nothing older than what the client has
//! seen: it reads its own writes, and time never runs backwards for it. Over HTTP only.

use super::{Planned, Workload};
use crate::harness::ask::{Level, Request};
use crate::harness::load::Client;
use serde_json::json;

const W: Workload = Workload::Session;

pub fn plan(client: &mut Client) -> Planned {
    let key = client.key(W);
    if client.random.u8(..3) > 0 {
        return read(client, &key);
    }
    let value = client.unique();
    Planned::change(W, &key, "write", json!({"value": value}), Request::put(key.clone(), value))
}

pub fn read(client: &Client, key: &str) -> Planned {
    let floor = client.floor;
    let get = Request::Get { key: key.to_owned(), level: Level::Stale(floor) };
    Planned { argument: json!({"min_index": floor}), ..Planned::read(W, key, get) }
}
