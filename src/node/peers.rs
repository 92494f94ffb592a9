//! Connections to other nodes for what is not Raft's own: forwarded writes, read indexes, clocks, changes
//! of the membership.

use crate::peer::{Lane, NodeId, PeerClient};
use crate::raft::Consensus;
use std::collections::HashMap;
use std::sync::Mutex;

/// One connection a node and lane, made when first asked for.
#[derive(Default)]
pub(super) struct Peers {
    clients: Mutex<HashMap<(NodeId, Lane), PeerClient>>,
}

impl Peers {
    /// A connection to a member; `None` when the membership does not know it.
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
