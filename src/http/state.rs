//! What the handlers of HTTP requests share.

use super::HttpLimits;
use super::compat::{CompatSettings, OldNodes};
use super::origin::Sites;
use super::trusted_proxies::TrustedProxies;
use crate::api::AttachProgress;
use crate::backups::Backups;
use crate::front::Front;
use crate::jwt::JwtVerifier;
use crate::lineage::HistoryKind;
use crate::merging::Policy;
use crate::node::{Principal, Session};
use crate::tls::{Joining, ServerTls};
use axum::http::HeaderValue;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

/// Settings of the HTTP front door.
#[derive(Debug, Clone, Default)]
pub struct HttpSettings {
    pub limits: HttpLimits,
    /// Hosts that this node answers to, besides addresses, `localhost` and what the members advertise.
    pub allowed_hosts: Vec<String>,
    /// Proxies that say truly where the requests come from which they pass on.
    pub trusted_proxies: TrustedProxies,
    /// What encrypts connections; plain HTTP if `None`.
    pub tls: Option<ServerTls>,
    /// What verifies the tokens that others have signed; `None` takes none.
    pub jwt: Option<JwtVerifier>,
    /// Whether only nodes are told what nodes tell each other before they have a cluster. They show their certificates.
    pub introduces_to_nodes_only: bool,
    /// What this node does for others that have no certificate yet; `None` does nothing.
    pub joining: Option<Joining>,
    /// For how many seconds browsers shall use nothing but HTTPS for this host, on all of its ports. `None` says nothing.
    pub hsts_max_age: Option<u64>,
    /// Whether the routes that break things on purpose exist.
    pub fault_injection: bool,
    /// Who wins where both sides changed a key, when a detached node comes back and nobody says.
    pub attach_policy: Policy,
    /// The backups that the node makes by itself, for metrics.
    pub backups: Option<Backups>,
    /// Settings of the `/api` routes, and of the web pages of other sites that may use this node.
    pub compat: CompatSettings,
}

/// The state of all handlers. Clones share it.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// See [`AppState`].
pub struct Shared {
    pub(super) front: Arc<Front>,
    pub(super) limits: HttpLimits,
    /// Which hosts and pages are this cluster's own, or allowed.
    pub(super) sites: Sites,
    pub(super) trusted_proxies: TrustedProxies,
    pub(super) tls: Option<ServerTls>,
    pub(super) jwt: Option<JwtVerifier>,
    pub(super) introduces_to_nodes_only: bool,
    pub(super) joining: Option<Joining>,
    /// The value of `Strict-Transport-Security`.
    pub(super) hsts: Option<HeaderValue>,
    /// Whether answers of the `/api` routes contain causes of errors.
    pub(super) development: bool,
    pub(super) fault_injection: bool,
    /// The value of `Lockstep-History`, once the node has its cluster.
    history: OnceLock<HeaderValue>,
    pub(super) attach_policy: Policy,
    pub(super) backups: Option<Backups>,
    /// How far this node is on its way back into its cluster.
    pub(super) attach: watch::Sender<AttachProgress>,
    /// How often a client had this node catch up; then pages get the state, too.
    pub(super) syncs: watch::Sender<u64>,
    /// The nodes of the original Node.js cache server that are attached to this one.
    pub(super) old_nodes: OldNodes,
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl AppState {
    /// The state of an HTTP front door of this node.
    pub fn new(front: Arc<Front>, settings: HttpSettings) -> Self {
        let HttpSettings {
            limits,
            allowed_hosts,
            trusted_proxies,
            tls,
            jwt,
            introduces_to_nodes_only,
            joining,
            hsts_max_age,
            fault_injection,
            attach_policy,
            backups,
            compat,
        } = settings;
        let CompatSettings { frontends, development } = compat;
        let sites = Sites::new(front.clone(), frontends, allowed_hosts);
        let syncs = watch::Sender::default();
        Self(Arc::new(Shared {
            front,
            limits,
            sites,
            trusted_proxies,
            tls,
            jwt,
            introduces_to_nodes_only,
            joining,
            hsts: hsts_max_age.and_then(|age| HeaderValue::from_str(&format!("max-age={age}")).ok()),
            development,
            fault_injection,
            attach_policy,
            backups,
            attach: watch::Sender::default(),
            history: OnceLock::new(),
            syncs,
            old_nodes: OldNodes::default(),
        }))
    }

    /// A session for this principal, once the node has its cluster.
    pub(super) fn session(&self, principal: Principal) -> Option<Session> {
        self.front.session(principal)
    }

    /// Whether this node has left its cluster on purpose.
    pub(super) fn is_detached(&self) -> bool {
        self.front.lineage().is_some_and(|lineage| lineage.current().kind == HistoryKind::Detached)
    }

    /// The value of `Lockstep-History`, once the node has its cluster.
    pub(super) fn history(&self) -> Option<HeaderValue> {
        if let Some(value) = self.history.get() {
            return Some(value.clone());
        }
        let value = HeaderValue::from_str(&self.front.lineage()?.current().id).ok()?;
        Some(self.history.get_or_init(|| value).clone())
    }
}
