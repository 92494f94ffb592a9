//! Which entry is evicted when there is no room. A policy is one file here, its `mod` line, and
//! its name in `policy.rs`.
//!
//! A policy keeps entries in an order. The order is a function of what the entries carry (when and how often they
//! were used, and a *rank* that the policy assigns) and of the policy's own [`PolicyState`](eviction_policy::PolicyState). Both are in snapshots and
//! in the digest; the sorted sets here are derived from them.

mod eviction_policy;
mod fingerprint_map;
mod ghost;
mod lfu;
mod lru;
mod noeviction;
mod policy;
mod policy_set;
mod recency_list;
mod s3fifo;

pub(super) use eviction_policy::{Admission, Capacity, EvictionContext};
pub use policy::Policy;
pub(super) use policy_set::{PolicySet, PolicyStates};
