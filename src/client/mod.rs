//! Talks to nodes over HTTP: the Rust client, and what nodes themselves ask before they have a cluster.

mod bootstrap;
mod http;

pub use bootstrap::{introductions, join};
pub use http::{Answer, Client, ClientError, PutOptions};
