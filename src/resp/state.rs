//! What all connections share.

use super::channels::Channels;
use super::script_store::ScriptStore;
use super::turns::Turns;
use crate::api::RedisAddresses;
use crate::front::Front;
use crate::jwt::JwtVerifier;
use crate::node::Principal;
use std::fmt;
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

/// See the module.
pub(super) struct Shared {
    pub front: Arc<Front>,
    /// What verifies the tokens that others have signed; `None` takes none.
    pub jwt: Option<JwtVerifier>,
    /// Scripts that clients have sent.
    pub scripts: ScriptStore,
    /// How many scripts are carried out at a time.
    pub script_permits: Arc<Semaphore>,
    pub turns: Turns,
    /// What the clients of this node are subscribed to.
    pub channels: Arc<Channels>,
    /// Where clients go on when this node is about to stop.
    pub moving: watch::Sender<Option<Vec<RedisAddresses>>>,
}

/// Scripts that are carried out at a time.
const SCRIPTS_AT_A_TIME: usize = 8;

impl Shared {
    pub fn new(front: Arc<Front>, jwt: Option<JwtVerifier>) -> Self {
        Self {
            front,
            jwt,
            scripts: ScriptStore::default(),
            script_permits: Arc::new(Semaphore::new(SCRIPTS_AT_A_TIME)),
            turns: Turns::default(),
            channels: Arc::default(),
            moving: watch::Sender::new(None),
        }
    }

    /// Whoever has this token: one of the cluster's, or one that somebody else has signed.
    pub fn principal_with(&self, token: &str) -> Option<Principal> {
        let foreign = || self.jwt.as_ref().and_then(|jwt| jwt.principal(token));
        Principal::of_token(token).or_else(foreign)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({:?})", self.front.redis_clients)
    }
}
