//! The cache synchronizer: against a model of a cluster that fails in every way, and against a real one that is killed.

#[path = "../support/mod.rs"]
mod support;

mod conflicts;
mod connecting;
mod crash;
mod edge_cases;
mod faults;
mod files;
mod model;
mod model_batch;
mod model_client;
mod model_feed;
mod mortal;
mod quiescence;
mod races;
mod real;
mod rules;
mod scale;
mod vectors;
mod world;
