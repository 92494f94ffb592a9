//! Nodes of the original Node.js cache server that have this node among their peers ([docs/compat.md](../../../../docs/compat.md#old-nodes)).
//! Each connects by Socket.IO, gets the whole state, and from then on all operations; what it sends goes through the log. It is no
//! member: it has no vote, and nothing waits for it.
//!
//! `link.rs` is a connection, `incoming.rs` what comes over it, `writer.rs` brings that into the log (`tries.rs`: if need be, in several tries), `teller.rs` and `full_sync.rs`
//! tell the node what the cluster does, `told.rs` knows what it may not have heard yet, `owed.rs` what it still has to be told, `outlet.rs` sends no faster than it reads.

mod full_sync;
mod incoming;
mod link;
mod outlet;
mod owed;
mod registry;
mod teller;
mod told;
mod tries;
mod writer;

pub(super) use link::{Link, OLD_NODES_ROOM};
pub(in crate::http) use registry::{OldNodeReport, OldNodes};
