//! Each work against a real cluster and against the baseline server, and which nodes it reaches.

use crate::support::{Cluster, PROGRAM, free_port, run};
use crate::{bench, number};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A short run.
pub const SHORT: &str = "--connections 6 --seconds 0.4 --warm-up 0.1 --keys 40";

const FIELDS: [&str; 20] = [
    "work",
    "urls",
    "to",
    "connections",
    "rate",
    "value_bytes",
    "keys",
    "distribution",
    "consistency",
    "seed",
    "seconds",
    "requests",
    "requests_per_s",
    "operations",
    "operations_per_s",
    "misses",
    "errors",
    "errors_by_code",
    "latency_us",
    "behind",
];

/// A run that found no error, with every field a reader may expect.
pub fn clean(arguments: &str) -> Value {
    let (code, report, error) = bench(arguments);
    assert_eq!(code, 0, "{arguments}: {error}");
    for field in FIELDS {
        assert!(report.get(field).is_some(), "{arguments}: no {field} in {report}");
    }
    for field in ["p50", "p90", "p99", "p99_9", "max"] {
        assert!(number(&report["latency_us"], field) > 0, "{arguments}: {report}");
    }
    assert!(number(&report, "requests") > 0 && number(&report, "errors") == 0, "{arguments}: {report}");
    assert_eq!(report["work"], arguments.split(' ').next().unwrap());
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn every_work_works() {
    let cluster = Cluster::start(3, &[]).await;
    let urls = cluster.nodes.iter().map(|node| node.http.as_str()).collect::<Vec<_>>().join(",");
    let on = |work: &str| clean(&format!("{work} --url {urls} {SHORT}"));
    let keys = |prefix: &str| {
        let (_, out, _) = run(&["keys", prefix, "--url", &urls, "--json"]);
        serde_json::from_str::<Value>(out.trim()).unwrap()["keys"].as_array().unwrap().clone()
    };

    let batch = on("batch --batch 20 --value-bytes 30 --ttl-ms 600000");
    assert_eq!(number(&batch, "operations"), 20 * number(&batch, "requests"));
    let stored = keys("bench-");
    assert!((20..=40).contains(&stored.len()), "{} keys", stored.len());
    let whole =
        |key: &Value| key["bytes"] == 30 && key["ttl_ms"].as_u64().is_some_and(|left| left <= 600_000);
    assert!(stored.iter().all(whole), "{stored:?}");

    let get = on("get --value-bytes 50 --distribution zipf");
    assert_eq!((number(&get, "misses"), number(&get, "operations")), (0, number(&get, "requests")));
    assert_eq!((get["distribution"].as_str(), get["seed"].as_u64()), (Some("zipf:0.99"), Some(1)));
    let filled = keys("bench-");
    assert_eq!(filled.len(), 40, "all keys were stored before");
    assert!(filled.iter().all(|key| key["bytes"] == 50 && key["ttl_ms"].is_null()), "{filled:?}");

    assert_eq!(on("get --no-fill --consistency stale")["consistency"], "stale");
    on("put --rate 100");
    let mixed = on("mixed --write-percent 50");
    let parts = ["get", "put"].map(|part| number(&mixed[part], "requests"));
    assert!(parts.iter().all(|requests| *requests > 0), "{mixed}");
    assert_eq!(parts.iter().sum::<u64>(), number(&mixed, "requests"));
    assert!(number(&mixed["put"]["latency_us"], "p50") > 0, "{mixed}");

    let incr = on("incr");
    let get_counter = |key: &Value| {
        let (_, out, _) = run(&["get", key["key"].as_str().unwrap(), "--url", &urls]);
        out.parse::<u64>().unwrap()
    };
    let counted: u64 = keys("bench-count-").iter().map(get_counter).sum();
    assert!(counted >= number(&incr, "requests"), "each added one, and so did those before they counted");

    let (code, words, _) =
        run(&["bench", "put", "--url", &urls, "--seconds", "0.2", "--warm-up", "0", "--seed", "77"]);
    assert_eq!(code, 0);
    for word in ["closed loop", "requests/s", "p99.9", "errors", "77"] {
        assert!(words.contains(word), "no {word} in {words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn load_goes_where_it_is_told() {
    let cluster = Cluster::start(3, &[]).await;
    let all: Vec<&str> = cluster.nodes.iter().map(|node| node.http.as_str()).collect();
    let mut puts = vec![0; 3];
    for to in ["followers", "leader"] {
        // An election meanwhile would make another node the right one.
        let mut tries = 0;
        let (leader, reached) = loop {
            let leader = cluster.leader().await;
            let report = clean(&format!("put --to {to} --url {} {SHORT}", all.join(",")));
            let before = std::mem::replace(&mut puts, puts_by_node(&cluster).await);
            let reached: Vec<usize> = (0..3).filter(|&i| puts[i] > before[i]).collect();
            let urls: Vec<&str> = reached.iter().map(|&i| all[i]).collect();
            assert_eq!(report["urls"], Value::from(urls), "only those it names took load");
            if cluster.leader().await == leader {
                break (leader, reached);
            }
            tries += 1;
            assert!(tries < 10, "the lead never stays");
        };
        let expected: Vec<usize> = (0..3).filter(|&i| (i == leader) == (to == "leader")).collect();
        assert_eq!(reached, expected, "{to}, and n{} leads", leader + 1);
    }
    let follower = cluster.follower().await;
    let (code, _, error) = bench(&format!("put --to leader --url {} {SHORT}", all[follower]));
    assert_eq!(code, 1);
    assert!(error.contains("leads"), "{error}");
}

/// Puts that clients sent to each node, by its own count.
async fn puts_by_node(cluster: &Cluster) -> Vec<u64> {
    let mut puts = Vec::new();
    for node in &cluster.nodes {
        let metrics = cluster.http.get(format!("{}/metrics", node.http)).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        let counts = metrics.lines().filter(|line| {
            line.starts_with("lockstep_http_request_duration_seconds_count")
                && line.contains("method=\"PUT\"")
                && line.contains("/v1/kv/")
        });
        puts.push(counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum());
    }
    puts
}

/// A process that ends with the test.
struct Baseline(Child);

impl Drop for Baseline {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_baseline_server_answers_every_work() {
    let port = free_port().to_string();
    let mut baseline = Command::new(PROGRAM);
    baseline.args(["baseline-server", "--port", &port]).stdout(Stdio::piped());
    let mut baseline = Baseline(baseline.spawn().unwrap());
    let mut lines = BufReader::new(baseline.0.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "baseline server ready");
    for work in ["put", "get", "mixed", "incr", "batch --batch 10"] {
        let report = clean(&format!("{work} --to server --url http://127.0.0.1:{port} {SHORT}"));
        assert_eq!(number(&report, "misses"), 0, "{work}: {report}");
    }
    let (_, help, _) = run(&["--help"]);
    assert!(help.contains("bench") && !help.contains("baseline-server"), "{help}");
}
