//! Long consistency runs, which `cluster-scripts/jepsen` starts:
//!
//! `cargo bench --bench jepsen -- [--minutes M] [--seed S] [--faults A,B] [--clients PROTOCOLS] [--control LIE]
//! [--detach] [--recover] [--report FOLDER]`
//!
//! Ends with 0 when all is well, 1 when something is wrong, 3 when too little happened to tell.

#![allow(unused_imports, dead_code, reason = "cargo builds the unit tests of a bench, and runs none of them")]

#[path = "../tests/consistency/branches/mod.rs"]
mod branches;
#[path = "../tests/consistency/harness/mod.rs"]
mod harness;
#[path = "../tests/cache/memories.rs"]
mod memories;
#[path = "../tests/cache/model.rs"]
#[allow(dead_code, reason = "the cache's own tests use the rest")]
mod model;
#[path = "../tests/cache/model_absence.rs"]
mod model_absence;
#[path = "../tests/cache/model_clear.rs"]
#[allow(dead_code, reason = "the cache's own tests use the rest")]
mod model_clear;
#[path = "../tests/cache/model_hashes.rs"]
mod model_hashes;
#[path = "../tests/cache/model_ops.rs"]
mod model_ops;
#[path = "../tests/cache/model_order.rs"]
#[allow(dead_code, reason = "the cache's own tests use the rest")]
mod model_order;
#[path = "../tests/cache/model_sequence.rs"]
mod model_sequence;
#[path = "../tests/cache/model_within.rs"]
mod model_within;
#[path = "../tests/support/mod.rs"]
mod support;

use branches::Act;
use clap::Parser;
use harness::ask::Protocol;
use harness::faults::Kind;
use harness::report::Floor;
use harness::run::{Order, run};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Parser)]
#[command(
    name = "jepsen",
    about = "Breaks a cluster in every way there is, and judges what its clients were told"
)]
struct Arguments {
    /// How long to go on
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Plays the schedule of an earlier run again
    #[arg(long)]
    seed: Option<u64>,
    /// Only these faults, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = parse_kind)]
    faults: Vec<Kind>,
    /// What the clients speak, separated by commas: http, redis
    #[arg(long, value_delimiter = ',', value_parser = parse_protocol, default_value = "http,redis")]
    clients: Vec<Protocol>,
    /// Have the nodes tell a lie, which must be caught; needs a build with the feature `sabotage`
    #[arg(long)]
    control: Option<String>,
    /// Instead, let a node leave on purpose and come back, again and again
    #[arg(long, conflicts_with_all = ["faults", "control", "clients"])]
    detach: bool,
    /// Instead, lose a majority and recover without it, again and again
    #[arg(long, conflicts_with_all = ["faults", "control", "clients"])]
    recover: bool,
    /// Seconds a round takes
    #[arg(long, default_value_t = 60)]
    round: u64,
    /// Where the report goes [default: target/jepsen/SEED]
    #[arg(long)]
    report: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn parse_kind(name: &str) -> Result<Kind, String> {
    let known = || Kind::ALL.map(Kind::name).join(", ");
    Kind::ALL
        .into_iter()
        .find(|kind| kind.name() == name)
        .ok_or_else(|| format!("expected one of {}", known()))
}

fn parse_protocol(name: &str) -> Result<Protocol, String> {
    let known = || Protocol::ALL.map(Protocol::name).join(", ");
    let found = Protocol::ALL.into_iter().find(|protocol| protocol.name() == name);
    found.ok_or_else(|| format!("expected one of {}", known()))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = arguments.seed.unwrap_or(now.as_secs() % 1_000_000_000);
    let folder = arguments.report.unwrap_or_else(|| PathBuf::from(format!("target/jepsen/{seed}")));
    if folder.exists() {
        eprintln!("{} is there already; give another --report", folder.display());
        return ExitCode::from(2);
    }
    std::fs::create_dir_all(&folder).expect("a folder");
    let folder = folder.canonicalize().expect("a folder");
    if arguments.detach || arguments.recover {
        let acts = [(arguments.detach, Act::Detach), (arguments.recover, Act::Recover)];
        let acts: Vec<Act> = acts.into_iter().filter(|(wanted, _)| *wanted).map(|(_, act)| act).collect();
        let length = Duration::from_secs_f64(arguments.minutes * 60.0);
        println!("seed {seed}, rounds in {}/branches.jsonl", folder.display());
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let all = runtime.block_on(branches::run(&acts, seed, length, &folder));
        println!("{}", branches::summary(&all));
        let is_sound = all.iter().all(|told| told.violations.is_empty());
        return if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let enough = arguments.faults.is_empty() && arguments.minutes >= 5.0;
    let floor = Floor {
        every_kind: enough,
        snapshots_installed: usize::from(enough),
        leaders_a_round: 1,
        ok_per_s: 20.0,
    };
    let clients = match &arguments.clients[..] {
        [only] => format!(" --clients {}", only.name()),
        _ => String::new(),
    };
    let order = Order {
        seed,
        length: Duration::from_secs_f64(arguments.minutes * 60.0),
        round: Duration::from_secs(arguments.round),
        kinds: arguments.faults,
        control: arguments.control,
        command: format!("cluster-scripts/jepsen --minutes {} --seed {seed}{clients}", arguments.minutes),
        protocols: arguments.clients,
        folder: folder.clone(),
        floor,
    };
    println!("seed {seed}, report in {}", folder.display());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let report = runtime.block_on(run(&order));
    print!("{}", report.summary());
    println!("report: {}/index.html", folder.display());
    match report.verdict.as_str() {
        "green" => ExitCode::SUCCESS,
        "red: too little happened" => ExitCode::from(3),
        _ => ExitCode::FAILURE,
    }
}
