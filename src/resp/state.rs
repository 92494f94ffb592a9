//! What all connections share.

use super::clients::Clients;
use crate::front::Front;
use crate::jwt::JwtVerifier;
use crate::node::Principal;
use std::fmt;
use std::sync::Arc;

/// See the module.
pub(super) struct Shared {
    pub front: Arc<Front>,
    pub clients: Arc<Clients>,
    /// What verifies the tokens that others have signed; `None` takes none.
    pub jwt: Option<JwtVerifier>,
    /// The port that clients connect to, as `INFO` tells it.
    pub port: u16,
}

impl Shared {
    /// Whoever has this token: one of the cluster's, or one that somebody else has signed.
    pub fn principal_with(&self, token: &str) -> Option<Principal> {
        let foreign = || self.jwt.as_ref().and_then(|jwt| jwt.principal(token));
        Principal::of_token(token).or_else(foreign)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({:?})", self.clients)
    }
}
