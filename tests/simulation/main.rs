//! Whole clusters in one thread: real nodes on simulated machines, with a simulated network between them and
//! every fault by a seed. The same seed gives the same run, to the byte.
//!
//! `world.rs` lets time pass. `machine.rs`, `disk.rs` and `net.rs` are what a node stands on, `system.rs` its
//! clocks and its randomness. `faults.rs` breaks things, `clients.rs` asks for things, `oracle.rs` judges the
//! answers and `invariants/` what can be seen of the nodes. `docs/simulation.md` tells what this covers.
//!
//! A run is a process of its own: a few counters in libraries are process-wide. `LOCKSTEP_SIM_SEED=7` runs one
//! seed, `LOCKSTEP_SIM_SEEDS=1000` so many, from `LOCKSTEP_SIM_FIRST=1` on. `LOCKSTEP_SIM_TRACE=file` keeps a run's whole
//! trace, and `RUST_LOG=debug` shows what its nodes log.

// `system.rs` knows how Linux is asked.
#![cfg(target_os = "linux")]

mod clients;
mod disk;
mod faults;
mod history;
mod invariants;
mod machine;
mod net;
mod oracle;
mod random;
mod runs;
mod system;
mod trace;
#[cfg(feature = "next-level")]
mod upgrade;
mod world;
