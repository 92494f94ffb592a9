//! What a clear of a million keys does to everybody else: three nodes under 64 connections that read and write.
//!
//! `cargo bench --bench clear [-- --program PATH] [--rounds N] [--keys N]`
//!
//! With `--program`, another build of `lockstep` is measured in the same rounds, in turns with this one. How fast things
//! are is printed, not judged.

#[path = "../../tests/support/mod.rs"]
mod support;

use clap::Parser;
use reqwest::Method;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::{Cluster, PATIENCE, PROGRAM, run, until};

#[derive(Parser)]
#[command(name = "clear", about = "What a clear of many keys does to everybody else")]
struct Arguments {
    /// Another build to measure in turns with this one
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
    /// How often each is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Keys that are cleared
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Seconds of load, once without a clear and once with one
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Where the nodes keep their data: on a disk
    #[arg(long, value_name = "FOLDER", default_value = "/var/tmp")]
    data_dir: PathBuf,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// Given by `cargo test --benches`
    #[arg(long, hide = true)]
    test: bool,
}

fn main() {
    let arguments = Arguments::parse();
    if arguments.test {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!(
        "{} keys, nine tenths of them stored, on three nodes; 64 connections, one request in ten is a put; times in milliseconds",
        arguments.keys
    );
    println!("{HEAD}");
    for _ in 0..arguments.rounds {
        for program in [Some(PathBuf::from(PROGRAM)), arguments.program.clone()].into_iter().flatten() {
            runtime.block_on(measure(&arguments, &program));
        }
    }
}

const HEAD: &str = "build                load      get p50    p99    max   put p50    p99    max  errors  elections  clear  freed  apply";

/// The load without a clear, and the load with one.
async fn measure(arguments: &Arguments, program: &Path) {
    let capacity = (arguments.keys * 2).to_string();
    let mut cluster = Cluster::stopped_in(&arguments.data_dir, 3, &["--capacity-entries", &capacity]).await;
    for node in &mut cluster.nodes {
        node.program = program.to_owned();
        node.start();
    }
    cluster.all_ready().await;
    let urls = cluster.nodes.iter().map(|node| node.http.as_str()).collect::<Vec<&str>>().join(",");
    let keys = arguments.keys;
    // In small log entries, so that what is measured below is not the filling.
    let mut seed = 1;
    while metric(&cluster, "lockstep_entries").await < keys as f64 * 0.9 {
        let fill = format!("--batch 10 --connections 64 --seconds 3 --warm-up 0 --seed {seed} --json");
        bench(format!("bench batch --url {urls} --keys {keys} {fill}")).await;
        seed += 1;
    }
    let load = format!(
        "bench mixed --no-fill --url {urls} --keys {keys} --connections 64 --seconds {} --warm-up 1 --json",
        arguments.seconds
    );

    let before = term(&cluster).await;
    let without = bench(load.clone()).await;
    print(program, "alone", &without, term(&cluster).await - before, None);

    let before = term(&cluster).await;
    let loaded = tokio::spawn(bench(load));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let begun = Instant::now();
    let leader = &cluster.nodes[cluster.leader().await];
    let url = format!("{}/v1/kv?all=true", leader.http);
    let cleared = cluster.http.request(Method::DELETE, url).timeout(PATIENCE).send().await;
    let cleared = cleared.expect("an answer").text().await.expect("a body");
    let took = begun.elapsed();
    assert!(cleared.contains("removed"), "{cleared}");
    until("what was cleared is freed", || async {
        metric(&cluster, "lockstep_entries_to_free").await == 0.0
    })
    .await;
    let clear = Clear {
        took,
        freed: begun.elapsed(),
        apply: Duration::from_secs_f64(metric(&cluster, "lockstep_apply_longest_seconds").await),
    };
    let with = loaded.await.expect("it ends");
    print(program, "cleared", &with, term(&cluster).await - before, Some(clear));
}

/// What a clear took.
struct Clear {
    /// Until its answer.
    took: Duration,
    /// Until the last entry was freed.
    freed: Duration,
    /// The longest time that log entries, at most 32 of them, took to apply.
    apply: Duration,
}

fn print(program: &Path, load: &str, report: &Value, elections: u64, clear: Option<Clear>) {
    let name = program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let ms = |kind: &str, what: &str| report[kind]["latency_us"][what].as_u64().unwrap_or(0) as f64 / 1_000.0;
    let errors = report["errors"].as_u64().unwrap_or(0);
    let latencies =
        |kind: &str| format!("{:>7.1} {:>6.1} {:>6.1}", ms(kind, "p50"), ms(kind, "p99"), ms(kind, "max"));
    let clear = clear.map_or(String::new(), |clear| {
        let [took, freed, apply] =
            [clear.took, clear.freed, clear.apply].map(|time| time.as_secs_f64() * 1_000.0);
        format!("{took:>6.0} {freed:>6.0} {apply:>6.1}")
    });
    println!(
        "{name:<20} {load:<8} {} {}  {errors:>6}  {elections:>9} {clear}",
        latencies("get"),
        latencies("put")
    );
}

async fn term(cluster: &Cluster) -> u64 {
    cluster.status(&cluster.nodes[0]).await["term"].as_u64().expect("a number")
}

/// The largest value of a metric on any node; 0 where a build does not have it.
async fn metric(cluster: &Cluster, name: &str) -> f64 {
    let mut largest = 0.0_f64;
    for node in &cluster.nodes {
        let answer = cluster.request(Method::GET, node, "/metrics", "").await;
        let text = answer.text().await.expect("a text");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        largest = largest.max(line.map_or(0.0, |value| value.parse().expect("a number")));
    }
    largest
}

/// Runs the program with these arguments; its report.
async fn bench(arguments: String) -> Value {
    let running = tokio::task::spawn_blocking(move || run(&arguments.split(' ').collect::<Vec<&str>>()));
    let (code, out, error) = running.await.expect("it ends");
    assert_eq!(code, 0, "{error}");
    serde_json::from_str(out.lines().last().expect("a report")).expect("json")
}
