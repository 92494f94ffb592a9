//! Pipelines of Redis clients: several commands that are sent together. Most are about a key of this client's own, so the
//! order in which they were carried out shows; the others are single operations of the other workloads, at most one
//! of each, as what one log entry does to one key has one revision.

use super::{Planned, Workload, counter, register, set, ttl, walk};
use crate::harness::ask::{Condition, Request};
use crate::harness::load::{Begun, Client};
use lockstep::check::Outcome;
use serde_json::{Value, json};

const W: Workload = Workload::Pipeline;
/// Operations on one key of its own.
const OPERATIONS_A_KEY: u64 = 60;

/// The key that nobody else uses now, and what it has once all is carried out.
#[derive(Default)]
pub struct Own {
    key: Option<String>,
    value: Option<u64>,
    operations: u64,
}

pub async fn step(client: &mut Client) {
    let mut own = std::mem::take(&mut client.own);
    if own.operations >= OPERATIONS_A_KEY {
        own = Own::default();
    }
    let key = own.key.get_or_insert_with(|| client.shared.fresh_key(W)).clone();
    let count = client.random.usize(2..8);
    let mut pipeline: Vec<Planned> = (0..count).map(|_| of_own(client, &key, &mut own.value)).collect();
    own.operations += count as u64;
    for (chance, plan) in [
        (2, register::plan as fn(&mut Client) -> Planned),
        (3, counter::plan),
        (3, ttl::plan),
        (3, set::plan),
        (3, walk::plan),
    ] {
        if client.random.u8(..chance) == 0 {
            let planned = plan(client);
            if planned.request.is_one_command() {
                let place = client.random.usize(..=pipeline.len());
                pipeline.insert(place, planned);
            }
        }
    }
    let begun = client.begin(key.clone());
    let requests: Vec<Request> = pipeline.iter().map(|planned| planned.request.clone()).collect();
    let replies = client.pipeline(&begun.node, &requests).await;
    let ended_ns = client.shared.now_ns();
    let is_known = replies.iter().all(|reply| reply.outcome != Outcome::Unknown);
    for (place, (planned, mut reply)) in pipeline.into_iter().zip(replies).enumerate() {
        let whole = (begun.call_ns, ended_ns);
        let mut times = whole;
        if planned.workload == W {
            times = share(whole, place as u64, requests.len() as u64);
            // What one log entry did to a key has one revision.
            reply.revision = None;
        }
        let (node, key) = (begun.node.clone(), planned.key.clone());
        client.settle_at(planned, Begun { node, key, call_ns: times.0 }, &reply, times.1);
    }
    // What is not known of may still happen.
    client.own = if is_known { own } else { Own::default() };
}

/// The call and the return of one of the operations on a key that nobody else uses: they are told one after the other, in the
/// order in which they were sent. What was carried out in another order is then explained by nothing. These times are right for
/// that key only: all of the pipeline may have been carried out at any moment of the whole.
fn share((call_ns, return_ns): (u64, u64), place: u64, count: u64) -> (u64, u64) {
    let each_ns = (return_ns - call_ns) / count;
    let begin_ns = call_ns + place * each_ns;
    (begin_ns, begin_ns + each_ns.saturating_sub(1))
}

/// An operation on the key of this client's own, whose value was this.
fn of_own(client: &mut Client, key: &str, value: &mut Option<u64>) -> Planned {
    match client.random.u8(..10) {
        0..4 => read(key),
        4..7 => {
            let new = client.unique();
            *value = Some(new);
            Planned::change(W, key, "write", json!(new), Request::put(key, new))
        }
        7..9 => {
            let new = client.unique();
            // Now and then over what is not there.
            let from = if client.random.u8(..4) == 0 { Some(new + 1_000_000_000) } else { *value };
            if from == *value {
                *value = Some(new);
            }
            let condition = Condition::Value(from.map(|from| from.to_string()));
            let argument = json!({"from": from, "to": new});
            Planned::change(W, key, "cas", argument, Request::put_if(key, new, condition))
        }
        _ => {
            *value = None;
            Planned::change(W, key, "delete", Value::Null, Request::Delete { key: key.to_owned() })
        }
    }
}

pub fn read(key: &str) -> Planned {
    Planned::read(W, key, Request::get(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep::check::{Header, History, ModelName, Operation, Options, Verdict, check};

    /// A pipeline of two writes and a read between them, with what the read was told.
    fn verdict(read: u64) -> Verdict {
        let told = [
            ("write", json!(1), Value::Null),
            ("read", Value::Null, json!(read)),
            ("write", json!(2), Value::Null),
        ];
        let operations = told.into_iter().enumerate().map(|(place, (op, argument, result))| {
            let (call_ns, return_ns) = share((1_000, 2_000), place as u64, 3);
            let all = json!({"client": 1, "key": "k", "op": op, "argument": argument, "result": result,
                "call_ns": call_ns, "return_ns": return_ns, "outcome": "ok"});
            serde_json::from_value::<Operation>(all).expect("an operation")
        });
        let header = Header::new(ModelName::Register);
        check(&History { header, operations: operations.collect() }, &Options::default()).verdict
    }

    #[test]
    fn commands_that_changed_places_are_noticed() {
        assert_eq!(verdict(1), Verdict::Yes);
        assert_eq!(verdict(2), Verdict::No, "the read came after both writes");
    }

    #[test]
    fn shares_follow_one_another_within_the_whole() {
        let shares: Vec<(u64, u64)> = (0..7).map(|place| share((1_000, 9_000), place, 7)).collect();
        assert!(shares.windows(2).all(|pair| pair[0].1 < pair[1].0));
        assert!(shares.iter().all(|(call_ns, return_ns)| call_ns < return_ns));
        assert!(shares[0].0 >= 1_000 && shares[6].1 <= 9_000);
    }
}
