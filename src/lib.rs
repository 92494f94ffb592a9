//! Lockstep: a Raft-replicated key-value cache whose nodes never disagree.
//!
//! The program `lockstep` runs and asks clusters; this library is all it is made of. A node can live in your
//! own process too:
//!
//! ```
//! use lockstep::cache::{Command, Condition, Key, Op, Ttl, Value};
//! use lockstep::node::{Node, NodeOptions, ReadLevel};
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
//! let read = node.get(&key, ReadLevel::Linearizable).await?;
//! let found = read.value.expect("it was just written");
//! assert_eq!(found.value.bytes, "hello");
//! assert_eq!(found.revision, written.index);
//!
//! node.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! The crate is laid out in rooms; imports point down this list only, and everyone may import `cache` and `log_limit`.

pub mod cli;

pub mod check;
#[cfg(feature = "sabotage")]
pub mod sabotage;

pub mod http;

pub mod dashboard;

pub mod node;

pub mod raft;

pub mod replica;

pub mod peer;

pub mod storage;

pub mod cache;

pub mod api;

pub mod client;

mod log_limit;
