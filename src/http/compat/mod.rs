//! The Express-style cache API under `/api`, and its Socket.IO events, so that the clients of a well-known Node.js cache
//! server run unchanged ([docs/compat.md](../../../docs/compat.md)). One resource a file. `layers.rs` has the middleware
//! of these routes; no other route pays for it.

mod answer;
mod body;
mod bulk;
mod item;
mod items;
mod layers;
mod memory;
mod metrics;
mod old_nodes;
mod page_access;
mod prepare;
mod put;
mod routes;
mod settings;
mod socket_io;
mod state_page;
mod strategy;
mod sync;
mod sync_history;
mod upgrades;
mod value;

pub(super) use answer::error_response;
pub(super) use old_nodes::{OldNodeReport, OldNodes};
pub(super) use prepare::prepare;
pub(super) use routes::{probes, router};
pub use settings::CompatSettings;
pub(super) use socket_io::{broadcast, socket_io};
