//! `/v1/samples`: what a node did, second by second.

use crate::server::{Server, limits};
use lockstep::node::NodeOptions;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

async fn columns(server: &Server, since_ms: u64) -> Value {
    let answer = server.get(&format!("/v1/samples?since_ms={since_ms}")).await;
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
    server.refused(Method::GET, "/v1/samples?since_ms=now", &[], "", "invalid_query").await;
    server.refused(Method::GET, "/v1/samples?until=1", &[], "", "invalid_query").await;
    server.refused(Method::GET, "/v1/samples?node=n1", &[], "", "invalid_query").await;
    server.refused(Method::GET, "/v1/samples?node=9", &[], "", "not_found").await;
    let own =
        server.get(&format!("/v1/samples?node={}", server.node.id())).await.json::<Value>().await.unwrap();
    assert_eq!(own["node"]["name"], json!(server.node.name()), "{own}");
    server.stop().await;
}

async fn samples(server: &Server) -> Vec<u64> {
    let columns = columns(server, 0).await;
    columns["at_ms"].as_array().unwrap().iter().filter_map(Value::as_u64).collect()
}

async fn samples_after(server: &Server, at_ms: u64) -> Vec<u64> {
    let begun = Instant::now();
    loop {
        let samples = samples(server).await;
        if samples.last().is_some_and(|last| *last > at_ms) {
            return samples;
        }
        assert!(begun.elapsed() < PATIENCE, "no sample after {at_ms}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A node that was started again knows the hour before; a file that is damaged takes nothing else with it.
#[tokio::test]
async fn samples_outlive_the_node_and_a_damaged_file_does_not_stop_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node");
    let start = || Server::start_with(limits(), |options| NodeOptions { data_dir: path.clone(), ..options });
    let first = start().await;
    let before = samples_after(&first, 0).await;
    // A header, and then records of at least so many bytes.
    let written = 24 + 29 * before.len() as u64;
    let begun = Instant::now();
    while std::fs::metadata(path.join("samples")).map_or(0, |file| file.len()) < written {
        assert!(begun.elapsed() < PATIENCE, "not written");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    first.stop().await;

    let second = start().await;
    let loaded = samples_after(&second, before[before.len() - 1]).await;
    assert_eq!(loaded[..before.len()], before, "{loaded:?}");
    second.stop().await;

    let file = path.join("samples");
    let length = std::fs::metadata(&file).unwrap().len();
    assert!(length < 200 * 20, "{length} bytes for a few samples");
    let rubbish: Vec<u8> = (0..100_000_u32).map(|i| (i * 31 % 251) as u8).collect();
    std::fs::write(&file, rubbish).unwrap();
    let third = start().await;
    let anew = samples_after(&third, 0).await;
    assert!(anew[0] > before[0], "{anew:?}");
    third.stop().await;

    // Nothing can be written there at all.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    std::fs::write(file.join("inside"), "x").unwrap();
    let fourth = start().await;
    samples_after(&fourth, 0).await;
    assert_eq!(fourth.put("k", "v").await.status(), 201);
    fourth.stop().await;
}
