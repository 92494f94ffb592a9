//! The `lockstep` program: reads its arguments and runs one command.

use clap::Parser;
use lockstep::cli::{Cli, run};
use mimalloc::MiMalloc;
use std::process::ExitCode;

/// A request allocates many small pieces, and some are freed on another thread: what this allocator is made for.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    run(cli)
}
