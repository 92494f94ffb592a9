//! A counter. Increments with an id are repeated, through other nodes, until they are answered: each must count once.
//! Redis clients also add without one, once.

use super::{Planned, Workload};
use crate::harness::ask::{Protocol, Request};
use crate::harness::load::Client;
use lockstep::check::Outcome;
use serde_json::json;
use std::time::Duration;

const W: Workload = Workload::Counter;
const TRIES: u32 = 4;

pub async fn step(client: &mut Client) {
    let planned = plan(client);
    let Planned { request: Request::Add { id: Some(_), .. }, .. } = &planned else {
        return client.perform(planned).await;
    };
    let mut begun = client.begin(planned.key.clone());
    let mut in_doubt = false;
    let mut tries = 0;
    let mut reply = loop {
        let reply = client.ask(&begun.node, &planned.request).await;
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
    client.settle(planned, begun, &reply);
}

pub fn plan(client: &mut Client) -> Planned {
    let key = client.key(W);
    if client.random.u8(..3) == 0 {
        return read(&key);
    }
    let by = *client.random.choice(&[-2, -1, 1, 1, 2, 5, 9]).expect("there are some");
    let is_once = client.protocol == Protocol::Http || client.random.bool();
    let id = is_once.then(|| format!("add-{}", client.unique()));
    Planned::change(W, &key, "add", json!(by), Request::Add { key: key.clone(), by, id })
}

pub fn read(key: &str) -> Planned {
    Planned::read(W, key, Request::get(key))
}
