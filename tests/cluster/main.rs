//! Real processes and real faults: forming, failing over, pausing, cutting off, growing, shrinking.

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/jwt.rs"]
mod jwt;

mod attacks;
mod audit;
mod backups;
mod canary;
mod cli;
mod compat;
mod detach;
mod disk;
mod doctor;
mod eviction;
mod examples;
mod failover;
mod fencing;
mod formation;
mod limits;
mod losers;
mod membership;
mod memory;
mod misbehaving;
mod nodes;
mod old_folders;
mod partition;
mod reconcile;
mod recover;
mod replace;
mod service;
mod settings;
mod snapshot;
mod soak;
mod time;
mod tls;
mod tokens;
mod wall_clock;
mod watch;
