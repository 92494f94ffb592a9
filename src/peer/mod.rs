//! The transport between nodes: persistent TCP connections of their own listener, length-delimited binary
//! frames, many requests in flight. It carries bytes and knows nothing of Raft or of the cache.
//!
//! Each pair of nodes has one connection a [`Lane`], so that bulk on one lane never delays another: votes,
//! heartbeats and read-index requests travel apart from log entries, those apart from snapshots.

mod client;
mod frame;
mod handshake;
mod links;
mod net;
mod server;
mod slots;
mod socket;

pub use client::{PeerClient, PeerError, Pending};
pub use frame::{
    FRAME_BYTES_MAX, FrameError, Method, NoAnswer, Outgoing, Reply, Request, decode_reply, decode_request,
};
pub use handshake::{GROUP, GroupId, Hello, Lane, PeerIdentity, Protocols, Welcome};
pub use links::Links;
pub use net::{Dial, Listener, Net, ReadHalf, Stream, WriteHalf};
pub use server::{Handler, PeerServer, Refusal};

/// A node's number: given once by the log, never used again.
pub type NodeId = u64;
