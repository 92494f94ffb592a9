//! The transport between nodes: persistent TCP connections to a port for peers only, length-delimited binary frames,
//! and many requests in flight. It transports bytes and knows nothing about Raft or the cache.
//!
//! Each pair of nodes has one connection per [`Lane`], so that bulk data never delays urgent messages: votes,
//! heartbeats and read-index requests have a lane of their own, and so have log entries and snapshots.

mod client;
mod connection;
mod error;
mod frame;
mod handshake;
mod links;
mod net;
mod round_trips;
mod server;
mod slots;
mod socket;

pub use client::{PeerClient, Remote};
pub use connection::Pending;
pub use error::PeerError;
pub use frame::{
    FRAME_BYTES_MAX, FrameError, Method, NoAnswer, Outgoing, Reply, Request, decode_reply, decode_request,
};
#[doc(hidden)]
pub use frame::{frame, read_frame};
pub use handshake::{GROUP, GroupId, Hello, Lane, PeerIdentity, Protocols, Welcome};
pub use links::Links;
pub use net::{Dial, Listener, Net, ReadHalf, Stream, WriteHalf};
pub use round_trips::RoundTrips;
pub use server::{Handler, PeerServer, Refusal};

/// A node's number. The log assigns it, and never assigns it again.
pub type NodeId = u64;
