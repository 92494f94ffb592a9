//! The Redis protocol of one node in this process: replies, pipelines, transactions, scripts, tokens, limits.

#[path = "../support/certs.rs"]
mod certs;
mod channels;
mod client;
mod hashes;
mod limits;
mod listings;
mod lockstep_commands;
mod moving;
mod pipelines;
mod principals;
mod pushes;
mod redirects;
mod replies;
mod scripts;
mod sentinel;
mod server;
mod tls;
mod tokens;
mod transactions;
