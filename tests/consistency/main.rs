//! The consistency tests: the harness's own tests, and a short run of all of it. Long runs are `cluster-scripts/jepsen`.

mod branches;
#[cfg(feature = "sabotage")]
mod controls;
mod harness;
mod late_answers;
mod links;
#[path = "../cache/memories.rs"]
mod memories;
#[path = "../cache/model.rs"]
#[allow(dead_code, reason = "the cache's own tests use the rest")]
mod model;
#[path = "../cache/model_absence.rs"]
mod model_absence;
#[path = "../cache/model_clear.rs"]
#[allow(dead_code, reason = "the cache's own tests use the rest")]
mod model_clear;
#[path = "../cache/model_hashes.rs"]
mod model_hashes;
#[path = "../cache/model_ops.rs"]
mod model_ops;
#[path = "../cache/model_order.rs"]
#[allow(dead_code, reason = "the cache's own tests use the rest")]
mod model_order;
#[path = "../cache/model_sequence.rs"]
mod model_sequence;
#[path = "../cache/model_within.rs"]
mod model_within;
mod revocation;
mod smoke;
#[path = "../support/mod.rs"]
mod support;
