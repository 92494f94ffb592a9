//! How much slower a cluster gets by what it holds, how large that is, how many nodes there are, and what else they
//! do meanwhile:
//!
//! `cargo bench --bench growth [-- --quick] [--only ROW,ROW] [--json FILE]`
//!
//! Each row of the table is a cluster of real processes on this machine, one after another, with `lockstep bench` as
//! the load. How fast things are is printed, not judged.

#[path = "../../tests/support/mod.rs"]
mod support;

mod measure;
mod rows;
mod table;

use clap::Parser;
use measure::{Load, measure};
use rows::{BASE, ROWS, Row};
use std::path::PathBuf;
use table::Measured;

/// Files this process may have open: idle connections are opened here.
const OPEN_FILES: u64 = 4_096;

#[derive(Parser)]
#[command(name = "growth", about = "What makes a cluster slower, and by how much")]
struct Arguments {
    /// Once only and for a second each, to see that it works
    #[arg(long)]
    quick: bool,
    /// Only these rows, separated by commas; the first one is measured always
    #[arg(long, value_delimiter = ',', value_name = "ROW", value_parser = parse_row)]
    only: Vec<&'static str>,
    /// Rounds; in each, every row is measured once
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds a measurement takes, once for GET and once for PUT
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds before each, which do not count
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    warm_up: f64,
    /// Connections of the load
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// Where the nodes keep their data: on a disk
    #[arg(long, value_name = "FOLDER", default_value = "/var/tmp")]
    data_dir: PathBuf,
    /// Every single report goes here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn parse_row(name: &str) -> Result<&'static str, String> {
    let known = || ROWS.map(|row| row.name).join(", ");
    ROWS.iter()
        .find(|row| row.name == name)
        .map(|row| row.name)
        .ok_or_else(|| format!("expected {}", known()))
}

fn main() {
    let arguments = Arguments::parse();
    allow_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let all = runtime.block_on(rounds(&arguments));
    table::print(&all);
    if let Some(file) = &arguments.json {
        std::fs::write(file, format!("{:#}\n", table::json(&all))).expect("the file is written");
    }
}

async fn rounds(arguments: &Arguments) -> Vec<Measured> {
    let Arguments { seconds, warm_up, connections, .. } = *arguments;
    let (rounds, load) = match arguments.quick {
        true => (1, Load { seconds: 1.0, warm_up: 0.5, connections }),
        false => (arguments.rounds, Load { seconds, warm_up, connections }),
    };
    let wanted = |row: &&Row| {
        let only = &arguments.only;
        only.is_empty() || row.name == BASE.name || only.contains(&row.name)
    };
    let mut rows: Vec<&'static Row> = ROWS.iter().filter(wanted).collect();
    let mut all = Vec::new();
    for round in 1..=rounds {
        for row in &rows {
            eprintln!("round {round} of {rounds}: {}", row.name);
            let sample = measure(row, load, &arguments.data_dir).await;
            all.push(Measured { round, row, sample });
            // What this cluster leaves the disk to do is none of the next one's business.
            // SAFETY: it takes nothing, and always succeeds.
            unsafe { libc::sync() };
        }
        // A machine that slows down or speeds up meanwhile does so for all.
        rows.reverse();
    }
    all
}

fn allow_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` lives, and is all that is read and written.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 && limit.rlim_cur < OPEN_FILES {
            limit.rlim_cur = OPEN_FILES.min(limit.rlim_max);
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}
