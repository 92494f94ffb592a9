//! The HTTP API. axum lives here and nowhere else; one resource a file; every error becomes a response in
//! one place ([`api_error`]).

mod accept;
mod admission;
mod api_error;
mod baseline;
mod batch;
mod body;
mod client_address;
mod cluster;
mod compat;
mod conditions;
mod config;
mod connection_guard;
mod dashboard;
mod extract;
mod faults;
mod frontends;
mod health;
mod history;
mod hosts;
mod instrument;
mod keys;
mod kv;
mod limits;
mod live;
mod metrics;
mod metrics_cache;
mod metrics_process;
mod not_found;
mod openapi;
mod origin;
mod probe_connections;
mod response_headers;
mod routes;
mod server;
mod session;
mod state;
mod time;
mod tracked_body;
mod watch;

pub use baseline::serve_baseline;
pub use compat::CompatSettings;
pub use limits::HttpLimits;
pub use openapi::OPENAPI;
pub use server::HttpServer;
pub use state::{AppState, HttpSettings};
