//! Whether a node that runs for long takes more and more of its machine:
//!
//! `cargo bench --bench soak [-- --quick] [--only ROW,ROW] [--writes N] [--seconds S]`
//!
//! Each row is a cluster of real processes on this machine, one after another, under a load that is far below what it
//! could do, or on a single connection. What its nodes hold of memory, disk, descriptors, tasks and log is looked at each
//! second, and judged: the program ends with code 1 when something goes on growing.

#[path = "../../tests/support/mod.rs"]
mod support;

mod judge;
mod rows;
mod run;

use clap::Parser;
use rows::{ROWS, Row};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "soak", about = "Whether a node goes on growing")]
struct Arguments {
    /// A few seconds a row, to see that it works
    #[arg(long)]
    quick: bool,
    /// Only these rows, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "ROW", value_parser = parse_row)]
    only: Vec<&'static str>,
    /// A row ends after so many writes
    #[arg(long, default_value_t = 1_000_000)]
    writes: u64,
    /// Or after so many seconds
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Where the nodes keep their data: on a disk
    #[arg(long, value_name = "FOLDER", default_value = "/var/tmp")]
    data_dir: PathBuf,
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

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (writes, seconds) =
        if arguments.quick { (u64::MAX, 8) } else { (arguments.writes, arguments.seconds) };
    println!("{}", judge::HEAD);
    let mut grew = 0;
    let chosen = |row: &&Row| arguments.only.is_empty() || arguments.only.contains(&row.name);
    for row in ROWS.iter().filter(chosen) {
        let samples = runtime.block_on(run::run(row, writes, seconds, &arguments.data_dir));
        for (node, samples) in samples.iter().enumerate() {
            let verdict = judge::judge(row, samples);
            println!("{}", judge::line(row.name, node + 1, &verdict));
            grew += usize::from(verdict.is_too_much());
        }
    }
    if grew == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
