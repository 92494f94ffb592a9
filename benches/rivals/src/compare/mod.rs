//! The comparison: every system in turn, several rounds, and how they stand to each other in each.

mod http;
mod machine;
mod plot;
mod process;
mod redis;
mod relay;
mod results;
mod rows;
mod systems;
mod table;
mod table_rows;

use crate::disk::Disk;
use anyhow::{Context, Result, bail};
use clap::builder::PossibleValuesParser;
use results::{Results, Sample};
use rows::{Comparison, Setup, Work, chosen, plan, row_names};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Instant, SystemTime};
use systems::{Running, Settings, Tools};
use tokio::signal::unix::{SignalKind, signal};

/// What to compare, and how long.
#[derive(Debug, Clone, clap::Args)]
pub struct CompareArgs {
    /// The program to be measured, built for release
    #[arg(long, value_name = "FILE")]
    pub lockstep: PathBuf,
    /// How often everything is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// How long each measurement takes, in seconds
    #[arg(long, default_value = "5", value_parser = parse_some_seconds)]
    pub seconds: f64,
    /// Seconds before that, which do not count
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds)]
    pub warm_up: f64,
    /// A folder with the programs `lockstep` and `rivals` of another build, which every row is compared with as well
    #[arg(long, value_name = "FOLDER")]
    pub before: Option<PathBuf>,
    /// These rows of the table alone; those with a delay between the members only when they are named
    #[arg(long, value_name = "ROW,ROW", value_delimiter = ',')]
    #[arg(value_parser = PossibleValuesParser::new(row_names()))]
    pub only: Vec<String>,
    #[command(flatten)]
    pub disk: Disk,
    /// Write everything that was measured there
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw it there
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// Free ports are looked for from here on
    #[arg(long, default_value_t = 22_000)]
    pub port: u16,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=3_600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds, at most 3600".into()),
    }
}

fn parse_some_seconds(text: &str) -> Result<f64, String> {
    parse_seconds(text)
        .and_then(|seconds| if seconds > 0.0 { Ok(seconds) } else { Err("expected more".into()) })
}

/// Compares, prints the table, and says whether everything went well.
///
/// # Errors
/// Nothing could be measured, or it was interrupted.
pub async fn compare(args: &CompareArgs) -> Result<bool> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        // Dropping what runs ends all processes and removes their data.
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("interrupted"),
        compared = Box::pin(run(args)) => compared,
    }
}

async fn run(args: &CompareArgs) -> Result<bool> {
    let tools = Tools::find(&args.lockstep, args.before.as_deref())?;
    let settings =
        Settings { seconds: args.seconds, warm_up: args.warm_up, disk: args.disk.clone(), port: args.port };
    // Before anything takes long: what is written at the end must be writable.
    for file in [&args.json, &args.plot].into_iter().flatten() {
        std::fs::write(file, "").with_context(|| format!("cannot write {}", file.display()))?;
    }
    let probe = settings.disk.folder()?;
    let mut about = json!({
        "began_unix_s": SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs(),
        "rounds": args.rounds, "seconds": args.seconds, "warm_up": args.warm_up,
        "machine": machine::machine(probe.path()),
        "versions": machine::versions(&tools).await,
    });
    drop(probe);
    warn_when_busy(&about);
    let rows = chosen(&args.only, args.before.is_some());
    let began = Instant::now();
    let results = measure_all(&rows, &tools, &settings, args.rounds).await;
    about["took_s"] = json!(began.elapsed().as_secs());
    let lines = results.lines(&rows);
    print!("{}", table::table(&about, &lines));
    if let Some(file) = &args.json {
        let text = format!("{:#}\n", results.json(about, &lines));
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(file) = &args.plot {
        std::fs::write(file, plot::plot(&lines))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(results.nothing_failed())
}

fn warn_when_busy(about: &Value) {
    let number = |name: &str| about["machine"][name].as_f64().unwrap_or(0.0);
    let (load, cores) = (number("load_before"), number("cores"));
    if load > cores / 2.0 {
        eprintln!(
            "compare: this machine is busy (load {load} on {cores} cores): the figures will say little"
        );
    }
}

/// Every system in turn in each round, in the other order in every second one.
async fn measure_all(rows: &[Comparison], tools: &Tools, settings: &Settings, rounds: u32) -> Results {
    let mut results = Results::default();
    let mut plan = plan(rows);
    plan.retain(|(setup, _)| match tools.missing(setup.system) {
        None => true,
        Some(reason) => {
            eprintln!("compare: {reason}");
            results.skip(setup.system, reason);
            false
        }
    });
    for round in 1..=rounds {
        for (setup, works) in &plan {
            eprintln!("round {round} of {rounds}: {setup}");
            for (work, report) in measure_one(*setup, works, tools, settings).await {
                results.add(Sample { round, setup: *setup, work, report });
            }
        }
        plan.reverse();
        plan.iter_mut().for_each(|(_, works)| works.reverse());
    }
    results
}

/// Starts a system, measures all that is wanted of it, stops it.
async fn measure_one(
    setup: Setup,
    works: &[Work],
    tools: &Tools,
    settings: &Settings,
) -> Vec<(Work, Result<Value, String>)> {
    let mut running = match Running::start(setup, tools, settings).await {
        Ok(running) => running,
        Err(error) => {
            let reason = format!("it did not start: {error:#}");
            eprintln!("  {reason}");
            return works.iter().map(|work| (*work, Err(reason.clone()))).collect();
        }
    };
    let mut measured = Vec::new();
    let mut works = works.to_vec();
    // The last one: it takes a member away.
    works.sort_by_key(|work| *work == Work::Failover);
    for work in works {
        let report = running.measure(work).await.map_err(|error| format!("{error:#}"));
        match &report {
            Ok(report) => eprintln!("  {work}: {}", table::in_words(report)),
            Err(error) => eprintln!("  {work}: failed: {error}"),
        }
        measured.push((work, report));
    }
    running.stop().await;
    measured
}
