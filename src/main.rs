//! The `lockstep` program: reads its arguments and runs one command.

use clap::Parser;
use lockstep::cli::{Cli, run};
use mimalloc::MiMalloc;
use std::process::ExitCode;

/// A request allocates dozens of small pieces, and frees them on another thread.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    run(cli)
}
