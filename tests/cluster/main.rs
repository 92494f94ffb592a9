//! Real processes and real faults: forming, failing over, pausing, cutting off, growing, shrinking.

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/access_table.rs"]
mod access_table;
#[path = "../support/jwt.rs"]
mod jwt;
#[path = "../support/socket_io_page.rs"]
mod socket_io_page;

mod access;
mod attacks;
mod audit;
mod backups;
mod canary;
mod channels;
mod cli;
mod compat;
mod crashes;
mod departures;
mod detach;
mod disk;
mod doctor;
mod eviction;
mod examples;
mod failover;
mod fencing;
mod formation;
mod join_tokens;
mod limits;
mod losers;
mod membership;
mod memory;
mod misbehaving;
mod near;
mod near_faults;
mod nodes;
mod old_folders;
mod partition;
mod ports;
mod reconcile;
mod recover;
mod redis;
mod replace;
mod service;
mod settings;
mod snapshot;
mod soak;
mod stale_auth;
mod time;
mod tls;
mod tokens;
mod wall_clock;
mod watch;
