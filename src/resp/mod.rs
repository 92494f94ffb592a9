//! The Redis protocol: a front door beside HTTP, for the clients of the world's caches. Reads are linearizable, writes are durable on a majority
//! before they are answered, and every node answers every command.

mod alone;
mod arguments;
mod client;
mod clients;
mod commands;
mod connection;
mod connection_commands;
mod dispatch;
mod errors;
mod extras;
mod glob;
mod hash_reply;
mod hash_scan;
mod hash_shape;
mod hashes;
mod info;
mod key;
mod keys;
mod lifetimes;
mod login;
mod meter;
mod number;
mod parser;
mod plan;
mod random;
mod reply;
mod run;
mod server;
mod state;
mod strings;
mod transaction;
mod transfer;
mod walk;

pub use server::{RespPort, RespServer};
