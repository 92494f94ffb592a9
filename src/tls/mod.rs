//! TLS: how nodes and clients prove who they are, and whom they believe.
//!
//! A node has one certificate for both of its ports, or one for each. Its files are read again when they change, so certificates
//! are renewed without a restart; connections that are open stay open.

mod certificate;
mod certificates;
mod client;
mod crypto;
mod files;
mod names;
mod peers;
mod server;
mod watched;

pub use certificate::{Certificate, expires_at};
pub use certificates::Certificates;
pub use client::{ClientTls, no_certificates};
pub use files::{CertFiles, Material, read_key_file, read_owners};
pub use names::{client_host, node_host};
pub use peers::{PeerStream, PeerTls};
pub use server::ServerTls;
pub use watched::{RELOAD_INTERVAL, Reload};
