//! C4: once a write that began after a value's deadline is acknowledged, nobody sees that value. The write carries log
//! time past the deadline, whoever leads and however long the cluster stood still before. A value whose key was given
//! another time to live later on has the latest deadline that can be meant.

use super::Invariant;
use crate::harness::load::Recorded;
use crate::harness::workloads::Workload;
use lockstep::api::Status;
use lockstep::check::{Operation, Outcome};
use std::collections::HashMap;

/// How far a new leader's log time may lag behind the old one's: what it last heard of it was on its way for a
/// while, and links here are slow at times.
const LAG_NS: u64 = 600 * 1_000_000;

/// What changes nothing.
const LOOKS: [&str; 2] = ["read", "left"];

pub struct ExpiredIsGone;

impl Invariant for ExpiredIsGone {
    fn name(&self) -> &'static str {
        "what has expired is gone"
    }

    fn end(&mut self, _last: &[Status], recorded: &Recorded) -> Result<(), String> {
        let Some(ttl) = recorded.get(&Workload::Ttl) else { return Ok(()) };
        let mut deadlines: HashMap<u64, (u64, &Operation)> = HashMap::new();
        for put in ttl.iter().filter(|told| told.op == "put" && told.outcome == Outcome::Ok) {
            let value = put.argument["value"].as_u64().ok_or("a put without a value")?;
            let later = ttl.iter().filter(|told| {
                let may_be = told.op == "expire" && told.outcome != Outcome::Fail;
                may_be && told.key == put.key && told.return_ns.is_none_or(|at| at >= put.call_ns)
            });
            let deadline = later.chain([put]).map(deadline).try_fold(0, |last, this| Ok(last.max(this?)));
            let deadline = deadline.map_err(|what: &str| what.to_owned())?;
            deadlines.insert(value, (deadline, put));
        }
        // Acknowledged writes by their begin, each with the earliest end of all that began then or later.
        let mut writes: Vec<(u64, u64)> = recorded
            .iter()
            // The times of these are only in the right order.
            .filter(|(workload, _)| **workload != Workload::Pipeline)
            .flat_map(|(_, operations)| operations)
            .filter(|told| !LOOKS.contains(&told.op.as_str()) && told.outcome == Outcome::Ok)
            .filter_map(|told| Some((told.call_ns, told.return_ns?)))
            .collect();
        writes.sort_unstable();
        let mut earliest = u64::MAX;
        for write in writes.iter_mut().rev() {
            earliest = earliest.min(write.1);
            write.1 = earliest;
        }
        for read in ttl.iter().filter(|told| told.op == "read" && told.outcome == Outcome::Ok) {
            let Some((deadline, put)) = read.result.as_u64().and_then(|value| deadlines.get(&value)) else {
                continue;
            };
            let next = writes.partition_point(|(call, _)| call <= deadline);
            if writes.get(next).is_some_and(|(_, end)| *end < read.call_ns) {
                return Err(format!("{read:?} still sees {put:?}, after a later write was acknowledged"));
            }
        }
        Ok(())
    }
}

/// When what this makes live has expired, for everybody.
fn deadline(told: &Operation) -> Result<u64, &'static str> {
    let ttl_ms = told.argument["ttl_ms"].as_u64().ok_or("a put without a time to live")?;
    let answered = told.return_ns.filter(|_| told.outcome == Outcome::Ok);
    Ok(answered.map_or(u64::MAX, |at| at + ttl_ms * 1_000_000 + LAG_NS))
}
