//! The `lockstep` program: reads its arguments and runs one command.

mod allocator;

use allocator::Allocator;
use lockstep::cli::run;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// mimalloc's number for the option `purge_delay`, which its binding does not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// How long the allocator keeps memory that nobody uses before the system gets it back, in milliseconds. With its own
/// second, large values that come and go cost a seventh more memory
/// (`docs/performance.md#memory-with-large-values`).
const PURGE_DELAY_MS: std::ffi::c_long = 100;

fn main() -> ExitCode {
    // SAFETY: nothing else runs yet. The environment's MIMALLOC_PURGE_DELAY comes before it.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MS) };
    run()
}
