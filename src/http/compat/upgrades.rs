//! The upgrade of a Socket.IO page from polling to a WebSocket. In the library a second upgrade of a session waits for ever
//! behind the first, out of reach of all timeouts. So a session can upgrade once, and again only after that connection has
//! ended.

use super::super::connection_guard::ConnectionGuard;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

/// The sessions that have begun to upgrade. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Upgrades(Arc<Mutex<HashSet<String>>>);

/// One of them, until it is dropped.
struct Begun {
    upgrades: Upgrades,
    session: String,
}

impl Upgrades {
    fn begin(&self, session: &str) -> Option<Begun> {
        let is_new = self.0.lock().expect("no panic while held").insert(session.to_owned());
        is_new.then(|| Begun { upgrades: self.clone(), session: session.to_owned() })
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.upgrades.0.lock().expect("no panic while held").remove(&self.session);
    }
}

/// The session that a request belongs to, unless it begins one.
pub(super) fn session(request: &Request) -> Option<&str> {
    request.uri().query()?.split('&').find_map(|part| part.strip_prefix("sid="))
}

/// Whether the query asks for a WebSocket. The library goes by it, and would switch protocols for a request that has lost its
/// `Upgrade` on the way, behind the back of the proxy that took it away.
fn asks_for_socket(request: &Request) -> bool {
    request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "transport=websocket"))
}

/// Refuses a second WebSocket for a session, and one without `Upgrade`.
pub(super) async fn refuse_wrong(State(upgrades): State<Upgrades>, request: Request, next: Next) -> Response {
    // Only a request with `Upgrade` has its connection's guard.
    let guard = request.extensions().get::<ConnectionGuard>().cloned();
    if guard.is_none() && asks_for_socket(&request) {
        return (StatusCode::BAD_REQUEST, "A WebSocket needs `Upgrade: websocket`").into_response();
    }
    if let Some(guard) = guard
        && let Some(session) = session(&request)
    {
        let Some(begun) = upgrades.begin(session) else {
            return (StatusCode::BAD_REQUEST, "This session has a WebSocket").into_response();
        };
        guard.hold(begun);
    }
    next.run(request).await
}
