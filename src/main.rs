//! The `lockstep` program: reads its arguments and runs one command.

use clap::Parser;
use lockstep::cli::{Cli, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    run(cli)
}
