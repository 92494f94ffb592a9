//! The `/api` routes, in the shape of a well-known Node.js cache server, so that its clients run unchanged
//! ([docs/guide.md](../../../docs/guide.md)). They say in Express' words what `/v1` says in its own; one resource a
//! file. `layers.rs` stands around all of them and around nothing else.

mod answer;
mod body;
mod bulk;
mod item;
mod items;
mod layers;
mod memory;
mod metrics;
mod put;
mod routes;
mod settings;
mod socket_io;
mod strategy;
mod sync;
mod sync_history;
mod upgrades;
mod value;

pub(super) use answer::in_its_words;
pub(super) use routes::{probes, router, take_slash_away};
pub use settings::GuideSettings;
pub(super) use socket_io::{keep_telling, limit_socket, socket_io};
