//! Talks to nodes over HTTP: the Rust client, and what nodes themselves ask before they have a cluster.

mod admin_log;
mod bootstrap;
mod bounded;
mod builder;
mod cluster;
mod compare;
mod detach;
mod error;
mod fence;
mod held_session;
mod http;
mod joining;
mod kv;
pub mod near;
mod position;
mod read;
mod reconcile;
mod sessions;
pub mod sync;
mod token;
mod tokens;
mod watch;

pub use bootstrap::{NotJoined, join, join_once, node_infos};
pub use builder::plain_http;
pub use compare::{Comparison, KeySpan};
pub use error::ClientError;
pub use held_session::HeldSession;
pub use http::Client;
pub use joining::certificate;
pub use kv::{Previous, PutOptions, Stored};
pub use position::{Cursor, Position, Positioned, is_same_history};
pub use read::{GetResponse, ReadOptions, Reading};
pub use token::{ClientToken, read_token_file};
pub use watch::{WatchOptions, Watching};
