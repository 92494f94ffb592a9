//! `/v1/audit`: what operators did; and how that is noted.
//!
//! What an operator asks for is written to the replicated log before it is carried out, and to this node's own log, as a line with
//! the target `lockstep::audit`, once it has been answered. What a node does for itself alone must be possible without a majority:
//! then only the line is left.

use super::access::{is_for_this_node, is_noted, is_noted_by_its_handler};
use super::api_error::ApiError;
use super::client_address::PeerAddress;
use super::cluster::not_noted;
use super::extract::Query;
use super::response_headers::no_store;
use super::state::AppState;
use crate::api::AdminLogReport;
use crate::front::{LineRate, truncate};
use crate::node::{Principal, Session};
use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;

/// Bytes of a path that are noted.
const PATH_BYTES_NOTED: usize = 200;
/// Lines in a second about what was refused.
static REFUSED_LINES: LineRate = LineRate::new(10);
/// How many actions are told, unless somebody asks for more.
const ACTIONS_TOLD: usize = 100;

/// Query of `GET /v1/audit`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    limit: Option<usize>,
}

/// `GET /v1/audit`.
pub(super) async fn get(
    session: Session,
    Query(AuditQuery { limit }): Query<AuditQuery>,
) -> Result<(HeaderMap, Json<AdminLogReport>), ApiError> {
    let log = session.admin_log(limit.unwrap_or(ACTIONS_TOLD)).await?;
    Ok((no_store(), Json(log)))
}

/// An operator's request, as it is noted.
pub(super) struct Noted {
    /// `None` as long as the node has no cluster, and where the handler writes the note.
    session: Option<Session>,
    principal: String,
    address: String,
    action: String,
    /// Whether it must be in the replicated log first.
    is_for_all: bool,
}

/// What is noted of a request; `None` if it is no operator's.
pub(super) fn noted(request: &Request, route: Option<&str>, state: &AppState) -> Option<Noted> {
    let (route, method) = (route?, request.method().as_str());
    if !is_noted(route, method) {
        return None;
    }
    let address = address_of(request.extensions().get::<PeerAddress>());
    let principal = request.extensions().get::<Principal>().cloned().unwrap_or(Principal::Anyone);
    let id = principal.name();
    Some(Noted {
        session: if is_noted_by_its_handler(route, method) { None } else { state.session(principal) },
        principal: id,
        address,
        action: format!("{method} {}", truncate(request.uri().path(), PATH_BYTES_NOTED)),
        is_for_all: !is_for_this_node(route, method),
    })
}

/// As an address is noted.
pub(super) fn address_of(address: Option<&PeerAddress>) -> String {
    address.map_or_else(String::new, |address| address.0.to_string())
}

impl Noted {
    /// Writes it to the replicated log.
    ///
    /// # Errors
    /// It cannot be written, and must not be done.
    pub async fn write(&mut self) -> Result<(), ApiError> {
        // A node that leaves its cluster cannot be opened again as long as somebody holds it.
        let Some(session) = self.session.take() else { return Ok(()) };
        match session.note_admin_action(self.address.clone(), &self.action).await {
            Err(error) if self.is_for_all => Err(not_noted(error)),
            Err(error) => {
                tracing::warn!(target: "lockstep::audit", error = %error.error, action = self.action, "not in the replicated log");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Writes what has come of it to this node's own log.
    pub fn answered(&self, status: StatusCode) {
        let Self { principal, address, action, .. } = self;
        let status = status.as_u16();
        if status == 401 || status == 403 {
            if let Some(omitted) = REFUSED_LINES.admit() {
                tracing::warn!(target: "lockstep::audit", principal, address, action, status, omitted, "refused");
            }
        } else {
            tracing::info!(target: "lockstep::audit", principal, address, action, status, "done");
        }
    }
}
