//! The HTTP API. axum lives here and nowhere else; one resource a file; every error becomes a response in
//! one place ([`respond`]).

mod accept;
mod admission;
mod bare;
mod batch;
mod body_memory;
mod client_address;
mod cluster;
mod compat;
mod conditions;
mod config;
mod dashboard;
mod door;
mod extract;
mod faults;
mod guard;
mod health;
mod history;
mod keys;
mod kv;
mod limits;
mod line_rate;
mod live;
mod metrics;
mod metrics_cache;
mod metrics_process;
mod noted;
mod nothing;
mod openapi;
mod origin;
mod places;
mod respond;
mod routes;
mod time;
mod watch;
mod watchers;

pub use accept::HttpServer;
pub use bare::serve_bare;
pub use compat::CompatSettings;
pub use door::Door;
pub use limits::HttpLimits;
pub use openapi::OPENAPI;
