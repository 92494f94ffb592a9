//! Lockstep: a Raft-replicated key-value cache whose nodes never disagree.
//!
//! The program `lockstep` runs and asks clusters; this library is all it is made of. A node can live in your
//! own process too:
//!
//! ```
//! use lockstep::cache::{Command, Condition, Key, Op, Ttl, Value};
//! use lockstep::node::{Consistency, Node, NodeOptions};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let node = Node::start(NodeOptions::alone(folder.path())).await?;
//!
//! let key = Key::new("greeting")?;
//! let value = Value::new("hello".into(), Some("text/plain"))?;
//! let put = Op::Put { key: key.clone(), value, ttl: Ttl::Never, condition: Condition::Absent, previous: false };
//! let written = node.write(Command::One(put)).await?;
//!
//! let read = node.get(&key, Consistency::Linearizable).await?;
//! let found = read.value.expect("it was just written");
//! assert_eq!(found.value.bytes, "hello");
//! assert_eq!(found.info.revision, written.index);
//!
//! node.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! The crate is laid out in rooms. A room imports only rooms further down this list, except that `client` imports `api`;
//! everyone may import `cache` and `log_limit`.

#[cfg(feature = "cli")]
pub mod cli;

#[cfg(feature = "check")]
pub mod check;
#[cfg(feature = "sabotage")]
pub mod sabotage;

#[cfg(feature = "http")]
pub mod http;

#[cfg(feature = "http")]
pub mod front;

#[cfg(feature = "http")]
pub mod jwt;

#[cfg(feature = "http")]
pub mod dashboard;

#[cfg(feature = "http")]
pub mod backups;

#[cfg(feature = "http")]
pub mod merging;

#[cfg(feature = "http")]
pub mod resp;

#[cfg(feature = "node")]
pub mod node;

#[cfg(feature = "node")]
pub mod raft;

#[cfg(feature = "node")]
pub mod replica;

#[cfg(feature = "node")]
pub mod peer;

#[cfg(feature = "node")]
pub mod storage;

pub mod cache;

pub mod reconcile;

pub mod recover;

pub mod lineage;

pub mod api;

#[cfg(feature = "client")]
pub mod client;

#[cfg(feature = "tls")]
pub mod tls;

#[cfg(any(feature = "node", feature = "http"))]
mod log_limit;
