//! What a member that is slow or gone costs the clients of the others:
//!
//! `cargo bench --bench slow [-- --rounds N] [--seconds S] [--only ROW,ROW] [--rate N]`
//!
//! Three real nodes. Clients ask the leader and one follower, half of their requests puts, at a rate that leaves the
//! machine idle most of the time. Then something happens to the other follower, and the same goes on: first for a second,
//! then for longer. A last measurement has as many requests as go, with and without the fault.

#![allow(
    unused_imports,
    dead_code,
    reason = "the harness of the consistency runs does more than is used here"
)]

#[path = "../tests/consistency/harness/mod.rs"]
mod harness;
#[path = "../tests/cache/memories.rs"]
mod memories;
#[path = "../tests/cache/model.rs"]
mod model;
#[path = "../tests/cache/model_absence.rs"]
mod model_absence;
#[path = "../tests/cache/model_clear.rs"]
mod model_clear;
#[path = "../tests/cache/model_hashes.rs"]
mod model_hashes;
#[path = "../tests/cache/model_ops.rs"]
mod model_ops;
#[path = "../tests/cache/model_order.rs"]
mod model_order;
#[path = "../tests/cache/model_sequence.rs"]
mod model_sequence;
#[path = "../tests/cache/model_within.rs"]
mod model_within;
#[path = "../tests/support/mod.rs"]
mod support;

use clap::Parser;
use harness::faults::strace::{Tracer, works};
use harness::network::{Kind, Network, Proxy, Speed};
use serde_json::Value;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::gauges::gauges;
use support::{Cluster, Node};

#[derive(Parser)]
#[command(name = "slow", about = "What a member that is slow or gone costs the clients of the others")]
struct Arguments {
    /// Every second round has the opposite order
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measurement but that of the first second
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Requests a second
    #[arg(long, default_value_t = 2_000)]
    rate: u32,
    /// Only these rows, separated by commas: none, stopped, killed, pulsing, far, disk
    #[arg(long, value_delimiter = ',', value_parser = parse_fault)]
    only: Vec<Fault>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// What happens to the follower that no client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nothing: how far apart two measurements of the same are.
    None,
    /// SIGSTOP: its connections stay open, and nobody reads them.
    Stopped,
    Killed,
    /// Stopped for 80 ms, then awake for 80 ms, and so on.
    Pulsing,
    /// 25 ms to it, and 25 ms back.
    Far,
    /// Each of its flushes takes 50 ms longer.
    Disk,
}

const ROWS: [Fault; 6] =
    [Fault::None, Fault::Stopped, Fault::Killed, Fault::Pulsing, Fault::Far, Fault::Disk];

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Stopped => "stopped",
            Self::Killed => "killed",
            Self::Pulsing => "pulsing",
            Self::Far => "far",
            Self::Disk => "disk",
        }
    }
}

fn parse_fault(name: &str) -> Result<Fault, String> {
    ROWS.into_iter().find(|row| row.name() == name).ok_or_else(|| "there is no such row".to_owned())
}

fn main() {
    let arguments = Arguments::parse();
    let rows: Vec<Fault> = match arguments.only.is_empty() {
        true => ROWS.into_iter().filter(|row| *row != Fault::Disk || works()).collect(),
        false => arguments.only.clone(),
    };
    if !rows.contains(&Fault::Disk) {
        println!("without the row disk, which needs strace");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut found: Vec<Vec<Outcome>> = rows.iter().map(|_| Vec::new()).collect();
    for round in 0..arguments.rounds {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for row in order {
            found[row].push(runtime.block_on(measure(rows[row], &arguments)));
        }
    }
    println!("row       what                          without          with   ratio (smallest to largest)");
    for (row, outcomes) in rows.iter().zip(&found) {
        show(*row, outcomes);
    }
}

/// One cluster's figures, each without and with the fault.
struct Outcome {
    figures: Vec<(&'static str, f64, f64)>,
    errors: u64,
}

async fn measure(fault: Fault, arguments: &Arguments) -> Outcome {
    let (mut cluster, network, _proxies) = start(fault).await;
    let leader = cluster.leader().await;
    let (asked, victim) = ((leader + 1) % 3, (leader + 2) % 3);
    let urls = [leader, asked].map(|node| cluster.nodes[node].http.clone()).join(",");
    let paced = |seconds: u64, warm_up: &'static str| load(&urls, seconds, warm_up, Some(arguments.rate));

    let before = Nodes::look(&cluster, [leader, asked]).await;
    let without = paced(arguments.seconds, "2").await;
    let middle = Nodes::look(&cluster, [leader, asked]).await;

    let under_way = Underway::begin(fault, &mut cluster, &network, victim).await;
    let first = paced(1, "0").await;
    let with = paced(arguments.seconds, "0").await;
    let after = Nodes::look(&cluster, [leader, asked]).await;
    let with_full = load(&urls, arguments.seconds, "1", None).await;
    under_way.end(&mut cluster, &network, victim);
    cluster.all_ready().await;
    let without_full = load(&urls, arguments.seconds, "1", None).await;
    assert_eq!(cluster.leader().await, leader, "{}: the leader changed", fault.name());

    let mut figures = Vec::new();
    for (name, kind, quantile) in [
        ("PUT p50, us", "put", "p50"),
        ("PUT p99, us", "put", "p99"),
        ("GET p50, us", "get", "p50"),
        ("GET p99, us", "get", "p99"),
    ] {
        figures.push((name, latency(&without, kind, quantile), latency(&with, kind, quantile)));
    }
    figures.push((
        "PUT p50, first second, us",
        latency(&without, "put", "p50"),
        latency(&first, "put", "p50"),
    ));
    figures.push((
        "PUT p99, first second, us",
        latency(&without, "put", "p99"),
        latency(&first, "put", "p99"),
    ));
    figures.push(("resident, MB", middle.rss / 1e6, after.rss / 1e6));
    figures.push(("log lines a minute", before.lines_a_minute(&middle), middle.lines_a_minute(&after)));
    let rate = |report: &Value| report["requests_per_s"].as_f64().expect("a number");
    figures.push(("saturated, requests/s", rate(&without_full), rate(&with_full)));
    figures.push((
        "saturated, PUT p99, us",
        latency(&without_full, "put", "p99"),
        latency(&with_full, "put", "p99"),
    ));
    let errors = [&first, &with, &with_full].map(|report| report["errors"].as_u64().expect("a number"));
    Outcome { figures, errors: errors.iter().sum() }
}

/// Three nodes with default settings. Only where a link is to be slow, something stands between them.
async fn start(fault: Fault) -> (Cluster, Network, Vec<Proxy>) {
    let (mut cluster, network) = (Cluster::stopped_in("/var/tmp".as_ref(), 3, &[]).await, Network::new(1));
    let mut proxies = Vec::new();
    for node in cluster.nodes.iter_mut().filter(|_| fault == Fault::Far) {
        let proxy = Proxy::start(&network, Kind::Peers, &node.peer).await;
        node.add_arguments(&["--advertise-peer".to_owned(), proxy.address.clone()]);
        proxies.push(proxy);
    }
    for node in &mut cluster.nodes {
        node.start();
    }
    cluster.all_ready().await;
    for (node, proxy) in cluster.nodes.iter().zip(&proxies) {
        proxy.belongs_to(id(&cluster, node).await);
    }
    (cluster, network, proxies)
}

async fn id(cluster: &Cluster, node: &Node) -> u64 {
    cluster.status(node).await["node"]["id"].as_u64().expect("a number")
}

/// Half puts, half linearizable reads.
async fn load(urls: &str, seconds: u64, warm_up: &str, rate: Option<u32>) -> Value {
    let mut command = tokio::process::Command::new(support::PROGRAM);
    command.args(["bench", "mixed", "--write-percent", "50", "--json", "--no-fill", "--url", urls]);
    command.args(["--seconds", &seconds.to_string(), "--warm-up", warm_up]);
    if let Some(rate) = rate {
        command.args(["--rate", &rate.to_string()]);
    }
    let done = command.stdin(Stdio::null()).output().await.expect("it runs");
    let told = String::from_utf8_lossy(&done.stdout);
    let last = told.lines().last().unwrap_or_default();
    serde_json::from_str(last)
        .unwrap_or_else(|error| panic!("{error}: {told}{}", String::from_utf8_lossy(&done.stderr)))
}

fn latency(report: &Value, kind: &str, quantile: &str) -> f64 {
    report[kind]["latency_us"][quantile].as_f64().expect("a number")
}

/// What the nodes that clients ask hold and say.
struct Nodes {
    at: Instant,
    /// Of the larger of them.
    rss: f64,
    lines: usize,
}

impl Nodes {
    async fn look(cluster: &Cluster, asked: [usize; 2]) -> Self {
        let (mut rss, mut lines) = (0.0_f64, 0);
        for node in asked.map(|node| &cluster.nodes[node]) {
            rss = rss.max(gauges(&cluster.http, node).await.expect("it answers").rss);
            lines += node.log().lines().count();
        }
        Self { at: Instant::now(), rss, lines }
    }

    fn lines_a_minute(&self, later: &Self) -> f64 {
        (later.lines - self.lines) as f64 * 60.0 / (later.at - self.at).as_secs_f64()
    }
}

/// A fault that goes on until it is ended.
enum Underway {
    Nothing,
    Stopped,
    Killed,
    Pulsing(Arc<AtomicBool>, std::thread::JoinHandle<()>),
    Far,
    Disk(Tracer),
}

impl Underway {
    async fn begin(fault: Fault, cluster: &mut Cluster, network: &Network, victim: usize) -> Self {
        match fault {
            Fault::None => Self::Nothing,
            Fault::Stopped => {
                cluster.nodes[victim].signal(libc::SIGSTOP);
                Self::Stopped
            }
            Fault::Killed => {
                cluster.nodes[victim].kill();
                Self::Killed
            }
            Fault::Pulsing => {
                let (pid, stop) = (cluster.nodes[victim].pid(), Arc::new(AtomicBool::new(false)));
                let stopped = stop.clone();
                let pulse = std::thread::spawn(move || {
                    for signal in [libc::SIGSTOP, libc::SIGCONT].into_iter().cycle() {
                        // SAFETY: the process is our child, and is waited for after this thread has ended.
                        unsafe { libc::kill(pid, signal) };
                        std::thread::sleep(Duration::from_millis(80));
                        if signal == libc::SIGCONT && stopped.load(Ordering::Acquire) {
                            return;
                        }
                    }
                });
                Self::Pulsing(stop, pulse)
            }
            Fault::Far => {
                let far = id(cluster, &cluster.nodes[victim]).await;
                let speed = Speed { delay_ms: 25, ..Speed::default() };
                for node in
                    cluster.nodes.iter().enumerate().filter(|(at, _)| *at != victim).map(|(_, node)| node)
                {
                    let other = id(cluster, node).await;
                    network.slow(far, other, speed);
                    network.slow(other, far, speed);
                }
                Self::Far
            }
            Fault::Disk => {
                let inject = "fdatasync,sync_file_range:delay_exit=50000";
                Self::Disk(
                    Tracer::attach(cluster.nodes[victim].pid(), inject).await.expect("strace attaches"),
                )
            }
        }
    }

    fn end(self, cluster: &mut Cluster, network: &Network, victim: usize) {
        match self {
            Self::Nothing => {}
            Self::Stopped => cluster.nodes[victim].signal(libc::SIGCONT),
            Self::Killed => cluster.nodes[victim].start(),
            Self::Pulsing(stop, pulse) => {
                stop.store(true, Ordering::Release);
                pulse.join().expect("it ends");
            }
            Self::Far => network.heal(false),
            Self::Disk(tracer) => drop(tracer),
        }
    }
}

fn show(row: Fault, outcomes: &[Outcome]) {
    for (number, (name, ..)) in outcomes[0].figures.iter().enumerate() {
        let column = |pick: fn(&(&str, f64, f64)) -> f64| {
            let mut figures: Vec<f64> =
                outcomes.iter().map(|outcome| pick(&outcome.figures[number])).collect();
            figures.sort_by(f64::total_cmp);
            figures
        };
        let (without, with) = (column(|figure| figure.1), column(|figure| figure.2));
        let ratios = column(|figure| if figure.1 > 0.0 { figure.2 / figure.1 } else { f64::NAN });
        let middle = |figures: &[f64]| figures[figures.len() / 2];
        println!(
            "{:<9} {name:<26} {:>10.1}    {:>10.1}   {:.2} ({:.2} to {:.2})",
            row.name(),
            middle(&without),
            middle(&with),
            middle(&ratios),
            ratios[0],
            ratios[ratios.len() - 1],
        );
    }
    println!("{:<9} errors {}", row.name(), outcomes.iter().map(|outcome| outcome.errors).sum::<u64>());
}
