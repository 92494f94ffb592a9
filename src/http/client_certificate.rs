//! The certificate that a client has shown, as a handler's argument.

use crate::node::Principal;
use crate::tls::Certificate;
use axum::extract::FromRequestParts;
use axum::http::Request;
use axum::http::request::Parts;
use std::convert::Infallible;
use std::sync::Arc;

/// The owner of the certificate that the client of a request has shown, if it has.
#[derive(Clone, Default)]
pub(super) struct ClientCertificate(Option<Arc<Certificate>>);

impl ClientCertificate {
    /// Whether it is a node's.
    pub fn is_of_node(&self) -> bool {
        self.0.as_ref().is_some_and(|owner| !owner.nodes.is_empty())
    }

    /// Whether it is that of the node with this name.
    pub fn is_of(&self, node: &str) -> bool {
        self.0.as_ref().is_some_and(|owner| owner.is_of_node(node))
    }

    /// Whether its owner can act for the node of this name: a node is itself only. Without a node's certificate, the token
    /// decides.
    pub fn allows_name(&self, name: Option<&str>) -> bool {
        let is_own = |owner: &Arc<Certificate>| name.is_some_and(|name| owner.is_of_node(name));
        !self.is_of_node() || self.0.as_ref().is_some_and(is_own)
    }
}

/// Adds it to a request.
pub(super) fn attach<B>(certificate: Option<&Arc<Certificate>>, request: &mut Request<B>) {
    if let Some(owner) = certificate {
        request.extensions_mut().insert(ClientCertificate(Some(owner.clone())));
    }
}

/// Whoever has shown a certificate that names a token.
pub(super) fn principal_of<B>(request: &Request<B>) -> Option<Principal> {
    let owner = request.extensions().get::<ClientCertificate>()?.0.as_ref()?;
    owner.client.as_deref().map(Principal::of_certificate)
}

impl<S: Sync> FromRequestParts<S> for ClientCertificate {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}
