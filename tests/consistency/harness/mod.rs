//! The consistency harness: real processes behind proxies, clients that record what they are told, everything broken
//! that can be, and a judgement of the histories. Read in this order: `run` (a whole run), `round`, `cluster` and
//! `network`, `load` and `workloads/`, `ask` and what speaks it, `http` and `redis/`, `nemesis` and `faults/`, `monitor` and `invariants/`, `replay`, `report`.

pub mod ask;
pub mod cluster;
pub mod faults;
pub mod http;
pub mod invariants;
pub mod load;
pub mod monitor;
pub mod nemesis;
pub mod network;
pub mod redis;
pub mod replay;
pub mod report;
pub mod round;
pub mod run;
pub mod workloads;
