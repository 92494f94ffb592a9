//! The `lockstep` program: reads its arguments and runs one command.

mod allocator;

use allocator::Allocator;
use clap::Parser;
use lockstep::cli::{Cli, run};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// What other cache servers read from the environment, too.
const CACHE_SERVER_VARIABLES: [&str; 5] =
    ["PORT", "PEER_NODES", "CACHE_CAPACITY", "FRONTEND_URL", "NODE_ENV"];

/// mimalloc's number for the option `purge_delay`, which its binding does not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// How long the allocator keeps memory that nobody uses before the system gets it back, in milliseconds. With its own
/// second, large values that come and go cost a seventh more memory
/// (`docs/performance.md#memory-with-large-values`).
const PURGE_DELAY_MS: std::ffi::c_long = 100;

fn main() -> ExitCode {
    // SAFETY: nothing else runs yet. The environment's MIMALLOC_PURGE_DELAY comes before it.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MS) };
    drop_empty_settings();
    let cli = Cli::parse();
    run(cli)
}

/// An empty variable is one that is not set: `.env` files and compose files are full of them.
fn drop_empty_settings() {
    let is_setting = |name: &str| name.starts_with("LOCKSTEP_") || CACHE_SERVER_VARIABLES.contains(&name);
    for (name, value) in std::env::vars_os() {
        if value.is_empty() && name.to_str().is_some_and(is_setting) {
            // SAFETY: nothing else runs yet that could read the environment.
            unsafe { std::env::remove_var(name) };
        }
    }
}
