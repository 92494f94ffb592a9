//! `/v1/history`: what a node did, second by second.

use crate::server::Server;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

async fn columns(server: &Server, since_ms: u64) -> Value {
    let answer = server.get(&format!("/v1/history?since_ms={since_ms}")).await;
    assert_eq!(answer.headers()["cache-control"], "no-store");
    answer.json::<Value>().await.unwrap()["columns"].clone()
}

fn sum(columns: &Value, name: &str) -> u64 {
    columns[name].as_array().unwrap().iter().filter_map(Value::as_u64).sum()
}

/// What was asked shows in the samples, and the columns have equal lengths.
#[tokio::test]
async fn requests_show_in_the_seconds_they_came_in() {
    let server = Server::start().await;
    let begun = Instant::now();
    // What comes before the first reading is in no sample.
    while columns(&server, 0).await["at_ms"].as_array().unwrap().is_empty() {
        assert!(begun.elapsed() < PATIENCE, "no sample");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.configure(json!({"capacity_entries": 3})).await;
    for key in ["a", "b", "c", "d", "e"] {
        server.put(key, "x").await;
    }
    server.get("/v1/kv/e").await;
    server.get("/v1/kv/none").await;
    let seen = loop {
        let seen = columns(&server, 0).await;
        if sum(&seen, "reads") >= 2 {
            break seen;
        }
        assert!(begun.elapsed() < PATIENCE, "{seen}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let lengths: BTreeSet<usize> =
        seen.as_object().unwrap().values().map(|column| column.as_array().unwrap().len()).collect();
    assert_eq!(lengths.len(), 1, "{seen}");
    for (name, least) in
        [("writes", 5), ("puts", 5), ("evicted", 2), ("hits", 1), ("misses", 1), ("flushes", 1)]
    {
        assert!(sum(&seen, name) >= least, "{name}: {seen}");
    }
    assert_eq!(sum(&seen, "errors"), 0);
    let last = |name: &str| seen[name].as_array().unwrap().last().unwrap().clone();
    assert_eq!((last("entries"), last("is_leader")), (json!(3), json!(1)));
    assert!(sum(&seen, "p99_us") >= sum(&seen, "p50_us") && sum(&seen, "p50_us") > 0, "{seen}");

    let newest = last("at_ms").as_u64().unwrap();
    let later = columns(&server, newest).await;
    assert!(later["at_ms"].as_array().unwrap().iter().all(|at_ms| at_ms.as_u64() > Some(newest)));
    server.refused(Method::GET, "/v1/history?since_ms=now", &[], "", "invalid_query").await;
    server.refused(Method::GET, "/v1/history?until=1", &[], "", "invalid_query").await;
    server.stop().await;
}
