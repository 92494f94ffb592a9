//! `rivals`: puts load on Lockstep's rivals, and compares.

mod alone;
mod compare;
mod disk;
mod embedded;
mod etcd;
#[cfg(feature = "hiqlite")]
mod hiqlite_cache;
mod load;

use anyhow::Result;
use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;
use std::process::ExitCode;

/// What the program `lockstep` uses.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[derive(Debug, Parser)]
#[command(name = "rivals", about = "Measures Lockstep and its rivals in the same run")]
struct Cli {
    #[command(subcommand)]
    work: Work,
}

#[derive(Debug, Subcommand)]
enum Work {
    /// Everything in turn, several times, and a table
    Compare(compare::CompareArgs),
    /// Three nodes of Lockstep in this process, durable
    Embedded(embedded::EmbeddedArgs),
    /// Load on etcd, which runs already
    Etcd(etcd::EtcdArgs),
    /// Three nodes of hiqlite's cache in this process
    #[cfg(feature = "hiqlite")]
    Hiqlite(hiqlite_cache::HiqliteArgs),
    /// Three nodes of openraft alone in this process, nothing durable
    Openraft(alone::AloneArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("rivals: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let worked = runtime.block_on(Box::pin(work(cli.work)));
    // Some systems leave threads behind that never end.
    runtime.shutdown_background();
    match worked {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("rivals: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says whether everything went well.
async fn work(work: Work) -> Result<bool> {
    match work {
        Work::Compare(args) => return compare::compare(&args).await,
        Work::Embedded(args) => tell(&embedded::embedded(&args).await?, args.load.json),
        Work::Etcd(args) => tell(&etcd::etcd(&args).await?, args.load.json),
        #[cfg(feature = "hiqlite")]
        Work::Hiqlite(args) => tell(&hiqlite_cache::hiqlite(&args).await?, args.load.json),
        Work::Openraft(args) => tell(&alone::alone(&args).await?, args.load.json),
    }
    Ok(true)
}

/// The whole report on one line, or the figures for people.
fn tell(report: &serde_json::Value, json: bool) {
    if json {
        println!("{report}");
        return;
    }
    for (name, value) in report.as_object().into_iter().flatten() {
        match value.as_object() {
            Some(parts) => {
                let parts: Vec<String> =
                    parts.iter().map(|(name, value)| format!("{name} {value}")).collect();
                println!("{name}: {}", parts.join("  "));
            }
            None => println!("{name}: {value}"),
        }
    }
}
