//! Connections to other nodes for requests that are not Raft's: forwarded writes, read indexes, clocks, membership
//! changes.

use crate::peer::{Lane, NodeId, PeerClient};
use crate::raft::Consensus;
use std::collections::HashMap;
use std::sync::Mutex;

/// One connection for each node and lane, created when first used.
#[derive(Default)]
pub(super) struct Peers {
    clients: Mutex<HashMap<(NodeId, Lane), PeerClient>>,
}

impl Peers {
    /// A connection to a member; `None` if the membership does not contain it.
    pub fn client(&self, consensus: &Consensus, id: NodeId, lane: Lane) -> Option<PeerClient> {
        let address = consensus.member(id)?.peer;
        let mut clients = self.clients.lock().expect("no panic while held");
        let known = clients.get(&(id, lane)).filter(|client| client.address() == address);
        if let Some(client) = known {
            return Some(client.clone());
        }
        let client = consensus.networks().client(id, &address, lane);
        clients.insert((id, lane), client.clone());
        Some(client)
    }
}
