//! Lockstep: a Raft-replicated key-value cache whose nodes never disagree.
//!
//! The crate is laid out in rooms; imports point down this list only, and everyone may import `cache`.

pub mod cli;

pub mod http;

pub mod node;

pub mod raft;

pub mod peer;

pub mod storage;

pub mod cache;

pub mod api;

pub mod client;
