//! TLS: how nodes and clients prove who they are, and whom they believe.
//!
//! A node has one certificate for both of its ports, or one for each. Its files are read again when they change, so certificates
//! are renewed without a restart; connections that are open stay open.

#[cfg(feature = "http")]
mod authority;
mod certificate;
mod certificates;
mod client;
mod crypto;
mod files;
#[cfg(feature = "http")]
mod joining;
mod names;
mod peers;
mod pins;
mod server;
mod watched;

#[cfg(feature = "http")]
pub use authority::{
    Authority, Issued, SigningRequest, bound, issuer_pin, new_key, signing_request, with_local_hosts,
};
pub use certificate::{Certificate, expires_at};
pub use certificates::Certificates;
pub use client::{ClientTls, no_certificates, of_anybody, of_authority};
pub use files::{CertFiles, Material, certificates_in, read_key_file, read_owners};
#[cfg(feature = "http")]
pub use joining::Joining;
pub use names::{client_host, names_somebody, node_host};
pub use peers::{PeerStream, PeerTls};
pub use pins::Pin;
pub use server::ServerTls;
pub use watched::{RELOAD_INTERVAL, Reload};
