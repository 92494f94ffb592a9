//! `rivals`: puts load on Lockstep's rivals, and compares.

mod alone;
mod disk;
mod embedded;
mod load;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(name = "rivals", about = "Measures Lockstep and its rivals in the same run")]
struct Cli {
    #[command(subcommand)]
    work: Work,
}

#[derive(Debug, Subcommand)]
enum Work {
    /// Three nodes of Lockstep in this process, durable
    Embedded(embedded::EmbeddedArgs),
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
    match runtime.block_on(Box::pin(work(cli.work))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rivals: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn work(work: Work) -> Result<()> {
    match work {
        Work::Embedded(args) => tell(&embedded::embedded(&args).await?, args.load.json),
        Work::Openraft(args) => tell(&alone::alone(&args).await?, args.load.json),
    }
    Ok(())
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
