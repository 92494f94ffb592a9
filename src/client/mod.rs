//! Talks to nodes over HTTP: the Rust client, and what nodes themselves ask before they have a cluster.

mod bootstrap;

pub use bootstrap::{introductions, join};
