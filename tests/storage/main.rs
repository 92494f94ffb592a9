//! The storage room, tested as what it promises: durability, refusal of damage, fail-stop.
//!
//! Invariants proved here: R1, R2, S1, S2, S3 (see `src/storage/mod.rs`).

mod damage;
mod faults;
mod log;
mod measure;
mod model;
mod power_cut;
mod snapshots;
mod support;
