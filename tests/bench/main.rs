//! `lockstep bench`: against a cluster, against a baseline server, and against servers made by hand that stall,
//! refuse and hang up. Over HTTP, and over the Redis protocol.

#[path = "../support/mod.rs"]
mod support;

mod arguments;
mod by_hand;
mod loops;
mod redis;
mod works;

use serde_json::Value;

/// Runs `bench` and returns its exit code, the object on its last line, and what it said on standard error.
fn bench(arguments: &str) -> (i32, Value, String) {
    let arguments: Vec<&str> = ["bench"].into_iter().chain(arguments.split(' ')).chain(["--json"]).collect();
    let (code, out, error) = support::run(&arguments);
    let report =
        out.lines().last().map_or(Value::Null, |line| serde_json::from_str(line).expect("an object"));
    (code, report, error)
}

/// A number of a report.
fn number(report: &Value, field: &str) -> u64 {
    report[field].as_u64().unwrap_or_else(|| panic!("{field} is a number: {report}"))
}
