//! A Socket.IO page's change from polling to a WebSocket. The library has a second one wait for ever behind the first, out of
//! reach of all time limits; so a session may change over once, and again only after that connection has ended.

use super::super::guard::Guard;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

/// The sessions that have begun to change over. Clones are the same.
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

/// The session that a request belongs to, if it is not to begin one.
pub(super) fn session(request: &Request) -> Option<&str> {
    request.uri().query()?.split('&').find_map(|part| part.strip_prefix("sid="))
}

/// Refuses a second WebSocket for a session.
pub(super) async fn refuse_second(
    State(upgrades): State<Upgrades>,
    mut request: Request,
    next: Next,
) -> Response {
    // Only a request for a WebSocket brings its connection's guard.
    if let Some(guard) = request.extensions_mut().remove::<Guard>()
        && let Some(session) = session(&request)
    {
        let Some(begun) = upgrades.begin(session) else {
            return (StatusCode::BAD_REQUEST, "This session has a WebSocket").into_response();
        };
        guard.hold(begun);
    }
    next.run(request).await
}
