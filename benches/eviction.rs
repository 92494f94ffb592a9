//! Measures what eviction keeps, on a real cluster of three processes that is read from on all nodes:
//!
//! `cargo bench --bench eviction -- TRACE [CAPACITY]` plays an access trace (see `lockstep replay`) under each
//! policy, and with the policy switched half-way, and prints hits, what reads cost the log, and whether the
//! nodes' digests agree in the end. `lockstep simulate TRACE` prints what to expect.

#[path = "../tests/support/mod.rs"]
mod support;

use reqwest::Method;
use serde_json::{Value, json};
use std::path::Path;
use support::{Cluster, run, until};

/// The policy for the first half of the trace, and for the second.
const RUNS: [(&str, &str); 6] = [
    ("lru", "lru"),
    ("lfu", "lfu"),
    ("s3fifo", "s3fifo"),
    ("lru", "s3fifo"),
    ("s3fifo", "lru"),
    ("lfu", "s3fifo"),
];

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let Some(trace) = arguments.first().filter(|trace| Path::new(trace).exists()) else {
        println!("skipped: give the path of a trace, as in `cargo bench --bench eviction -- TRACE`");
        return;
    };
    let capacity = arguments.get(1).map_or("1024", String::as_str);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    println!("policy              hits %   first half   second half   requests/s   log bytes/request");
    for (first, second) in RUNS {
        runtime.block_on(play(trace, capacity, first, second));
    }
}

async fn play(trace: &str, capacity: &str, first: &str, second: &str) {
    let cluster = Cluster::start(3, &["--capacity-entries", capacity, "--policy", first]).await;
    let urls: Vec<&str> = cluster.nodes.iter().map(|node| node.http.as_str()).collect();
    let urls = urls.join(",");
    let requests = length(trace);
    let half = (requests / 2).to_string();
    let early = replay(trace, &urls, &["--limit", &half]).await;
    let settings = json!({"policy": second}).to_string();
    let switched = cluster.request(Method::PUT, &cluster.nodes[0], "/v1/config", &settings).await;
    assert_eq!(switched.status().as_u16(), 200);
    let late = replay(trace, &urls, &["--skip", &half]).await;
    let of = |report: &Value, name: &str| report[name].as_f64().expect("a number");
    let both = |name: &str| of(&early, name) + of(&late, name);
    assert_eq!((both("errors"), both("requests")), (0.0, requests as f64));
    let mut log_bytes = 0;
    for node in &cluster.nodes {
        until("the switch is done", || async { cluster.status(node).await["cache"]["entries_to_move"] == 0 })
            .await;
        log_bytes += cluster.status(node).await["cache"]["touches"]["log_bytes"].as_u64().expect("a number");
    }
    cluster.digests_agree().await;
    let name = if first == second { first.into() } else { format!("{first} to {second}") };
    println!(
        "{name:<18} {:>7.2} {:>12.2} {:>13.2} {:>12.0} {:>19.2}",
        100.0 * both("hits") / both("requests"),
        of(&early, "hit_percent"),
        of(&late, "hit_percent"),
        both("requests") / both("seconds"),
        log_bytes as f64 / requests as f64,
    );
}

async fn replay(trace: &str, urls: &str, more: &[&str]) -> Value {
    let arguments = ["replay", trace, "--url", urls, "--json", "--concurrency", "32"];
    let arguments: Vec<String> = arguments.iter().chain(more).map(|text| (*text).to_owned()).collect();
    let replaying = move || run(&arguments.iter().map(String::as_str).collect::<Vec<&str>>());
    let (code, out, errors) = tokio::task::spawn_blocking(replaying).await.expect("it ends");
    assert_eq!(code, 0, "{errors}");
    serde_json::from_str(out.lines().last().unwrap_or_default()).expect("a report")
}

/// Requests in the trace.
fn length(trace: &str) -> u64 {
    let (_, out, errors) = run(&["simulate", trace, "--policy", "lru", "--delay", "1024", "--json"]);
    let report: Value = serde_json::from_str(out.lines().last().unwrap_or_default()).expect(&errors);
    report["requests"].as_u64().expect("a number")
}
