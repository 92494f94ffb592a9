//! The cluster: status, digests, members, leadership, snapshots.

use super::admin_log::address_of;
use super::api_error::ApiError;
use super::body::{NoBody, json_body};
use super::client_address::PeerAddress;
use super::client_certificate::ClientCertificate;
use super::extract::{PathId, whole};
use super::response_headers::{keep_to_own_pages, no_store};
use super::state::AppState;
use crate::api::{
    AddMember, CacheReport, Digests, ErrorCode, FeatureLevel, Joined, Members, NodeInfo, Nodes, Status,
    TransferLeader,
};
use crate::cache::{Need, Role};
use crate::node::{Admin, Session, SessionError};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures::stream;
use serde::Serialize;
use std::sync::Arc;

const JSON_BYTES_MAX: usize = 64 * 1024;
const CHUNK_BYTES: usize = 256 * 1024;

/// Answer of `POST /v1/snapshot`.
#[derive(Serialize)]
struct SnapshotTaken {
    index: u64,
    bytes: u64,
}

/// `GET /v1/introduction`.
pub(super) async fn node_info(
    State(state): State<AppState>,
    certificate: ClientCertificate,
) -> Result<Json<NodeInfo>, ApiError> {
    if state.introduces_to_nodes_only && !certificate.is_of_node() {
        return Err(ApiError::new(ErrorCode::Forbidden, "this is for nodes, which show a certificate"));
    }
    Ok(Json(state.front.node_info()))
}

/// `GET /v1/status`. It names keys to those only who may read all of them.
pub(super) async fn status(session: Session) -> Json<Status> {
    let mut status = session.admin().status().await;
    if !session.may_now(&Need::Prefix(Role::Read, String::new())) {
        status.cache.forget_keys();
    }
    Json(status)
}

/// `GET /v1/cache`.
pub(super) async fn cache(admin: Admin) -> Json<CacheReport> {
    Json(admin.cache_report().await)
}

pub(super) async fn digest(admin: Admin) -> Json<Digests> {
    Json(admin.digests())
}

pub(super) async fn members(admin: Admin) -> Json<Members> {
    Json(admin.members().await)
}

/// `GET /v1/nodes`.
pub(super) async fn nodes(admin: Admin) -> Result<(HeaderMap, Json<Arc<Nodes>>), ApiError> {
    Ok((no_store(), Json(admin.nodes_cached().await)))
}

pub(super) async fn add_member(
    State(state): State<AppState>,
    session: Session,
    address: Option<Extension<PeerAddress>>,
    certificate: ClientCertificate,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Joined>, ApiError> {
    let request: AddMember = json_body(&state, &headers, body, JSON_BYTES_MAX).await?;
    check_member(&request)?;
    if request.replace_silent_ms.is_some() && !certificate.allows_name(request.name.as_deref()) {
        let reason =
            "the certificate is of a node of another name, and a node replaces a member of its own name only";
        return Err(ApiError::new(ErrorCode::Forbidden, reason));
    }
    session.refuse_taken_place(&request)?;
    note_joining(&session, address, "POST /v1/members", &request).await?;
    let joined = session.admin().add_member(request).await?;
    Ok(Json(joined))
}

/// Writes to the log of operators' actions who joins, before it does.
pub(super) async fn note_joining(
    session: &Session,
    address: Option<Extension<PeerAddress>>,
    how: &str,
    request: &AddMember,
) -> Result<(), ApiError> {
    let address = address_of(address.map(|Extension(address)| address).as_ref());
    let name = request.name.as_deref().unwrap_or("a node without a name");
    let place = if request.replace_silent_ms.is_some() { ", in place of a silent member" } else { "" };
    let noted = session.note_admin_action(address, &format!("{how}: {name}{place}")).await;
    noted.map_err(not_noted)
}

/// Whatever became of the note: what was asked for has not begun.
pub(super) fn not_noted(error: SessionError) -> ApiError {
    if matches!(error.error.code(), ErrorCode::Unauthorized | ErrorCode::Forbidden) {
        // The leader knows of tokens that this node did not know of.
        return error.into();
    }
    let reason = format!("it cannot be noted who asks for this, so it was not done: {}", error.error);
    ApiError::new(ErrorCode::Unavailable, reason)
}

/// Whether a request to become a member can be meant.
pub(super) fn check_member(request: &AddMember) -> Result<(), ApiError> {
    let invalid = |field: &str, reason: &str| Err(ApiError::new(ErrorCode::InvalidBody, reason).field(field));
    if !is_host_port(&request.peer) {
        return invalid("peer", "peer: expected host:port");
    }
    if request.store_uuid.is_empty() || request.store_uuid.len() > 64 {
        return invalid("store_uuid", "store_uuid: expected the number of the node's data folder");
    }
    if request.http.len() > 512
        || request.name.as_ref().is_some_and(|name| name.is_empty() || name.len() > 64)
    {
        return invalid("name", "name: expected 1 to 64 bytes; http: at most 512 bytes");
    }
    Ok(())
}

fn is_host_port(text: &str) -> bool {
    text.len() <= 256
        && text.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && whole(port).is_some_and(|port| (1..=65_535).contains(&port))
        })
}

pub(super) async fn promote_member(
    admin: Admin,
    PathId(id): PathId,
    _: NoBody,
) -> Result<StatusCode, ApiError> {
    admin.promote_member(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn remove_member(
    admin: Admin,
    PathId(id): PathId,
    _: NoBody,
) -> Result<StatusCode, ApiError> {
    admin.remove_member(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/members/{id}/replace`: removes a member whose data folder is lost.
pub(super) async fn replace_member(
    admin: Admin,
    PathId(id): PathId,
    _: NoBody,
) -> Result<StatusCode, ApiError> {
    admin.replace_member(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn transfer_leader(
    State(state): State<AppState>,
    admin: Admin,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let request: TransferLeader = json_body(&state, &headers, body, JSON_BYTES_MAX).await?;
    admin.transfer_leader(request.to).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/upgrade`: raises the feature level.
pub(super) async fn finish_upgrade(admin: Admin, _: NoBody) -> Result<Json<FeatureLevel>, ApiError> {
    Ok(Json(admin.finish_upgrade().await?))
}

/// `POST /v1/snapshot`: takes one.
pub(super) async fn take_snapshot(admin: Admin, _: NoBody) -> Result<Response, ApiError> {
    let file = admin.snapshot().await?;
    Ok(Json(SnapshotTaken { index: file.index, bytes: file.bytes }).into_response())
}

/// `GET /v1/snapshot`: takes one and sends it, as a backup.
pub(super) async fn get_snapshot(admin: Admin) -> Result<Response, ApiError> {
    let file = admin.snapshot().await?;
    let name = format!("attachment; filename=\"lockstep-{}.snapshot\"", file.index);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(file.bytes));
    keep_to_own_pages(&mut headers);
    headers.extend(HeaderValue::from_str(&name).ok().map(|name| (header::CONTENT_DISPOSITION, name)));
    let chunks = stream::try_unfold(0, move |offset| {
        let file = file.clone();
        async move {
            if offset >= file.bytes {
                return Ok(None);
            }
            let reading = tokio::task::spawn_blocking(move || file.raw_chunk(offset, CHUNK_BYTES));
            let chunk = reading.await.map_err(std::io::Error::other)??;
            let next = offset + chunk.len() as u64;
            Ok::<_, std::io::Error>(Some((chunk, next)))
        }
    });
    Ok((headers, Body::from_stream(chunks)).into_response())
}
