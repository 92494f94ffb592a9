//! The Redis protocol: a front door beside HTTP, for the clients of the world's caches. Reads are linearizable, writes are durable on a majority
//! before they are answered, and every node answers every command.

mod alone;
mod arguments;
mod client;
mod clients;
mod commands;
mod composite;
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
mod lua;
mod lua_values;
mod meter;
mod number;
mod optimistic;
mod parser;
mod plan;
mod queue;
mod random;
mod reply;
mod run;
mod scratch;
mod script_store;
mod scripts;
mod server;
mod state;
mod strings;
mod transaction;
mod turns;
mod walk;

pub use server::{RespPort, RespServer};
