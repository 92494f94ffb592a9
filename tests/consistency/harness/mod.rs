//! The consistency harness: real processes behind proxies, clients that record what they are told, everything broken
//! that can be, and a judgement of the histories. Read in this order: `run` (a whole run), `round`, `cluster` and
//! `network`, `load` and `workloads/`, `nemesis` and `faults/`, `monitor` and `invariants/`, `replay`, `report`.

pub mod client;
pub mod cluster;
pub mod faults;
pub mod invariants;
pub mod load;
pub mod monitor;
pub mod nemesis;
pub mod network;
pub mod replay;
pub mod report;
pub mod round;
pub mod run;
pub mod workloads;
