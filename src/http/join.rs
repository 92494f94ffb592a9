//! Joining with a join token: see [`crate::api::JoinTokenText`]. A node that has no certificate yet asks for those who sign, finds the
//! one that its token names, and then shows the token to whoever has a certificate of that one.

use super::access::bearer;
use super::admin_log::address_of;
use super::api_error::ApiError;
use super::body::json_body;
use super::client_address::PeerAddress;
use super::client_certificate::ClientCertificate;
use super::cluster::{check_member, not_noted, note_joining};
use super::response_headers::{keep_to_own_pages, no_store};
use super::state::AppState;
use crate::api::{
    AddMember, Authorities, CreateJoinToken, ErrorCode, JoinTokenText, Joined, SignCertificate,
    SignedCertificate, TokenText,
};
use crate::cache::JoinUse;
use crate::front::LineRate;
use crate::node::{Principal, Session};
use crate::tls::{Joining, SigningRequest};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use tokio::task::spawn_blocking;

const BODY_BYTES_MAX: usize = 64 * 1024;
/// Anybody can ask for the authorities.
static FILES_LINES: LineRate = LineRate::new(1);

/// `GET /v1/authorities`.
pub(super) async fn authorities(State(state): State<AppState>) -> Result<Response, ApiError> {
    let found = read(joining(&state)?, Joining::authorities).await?;
    Ok((no_store(), Json(Authorities { authorities: found })).into_response())
}

/// `POST /v1/join-tokens`.
pub(super) async fn create(
    State(state): State<AppState>,
    session: Session,
    address: Option<Extension<PeerAddress>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let request: CreateJoinToken = json_body(&state, &headers, body, BODY_BYTES_MAX).await?;
    session.check_join_token(&request)?;
    let address = address_of(address.map(|Extension(address)| address).as_ref());
    let action = format!("POST /v1/join-tokens: {}", request.node);
    session.note_admin_action(address, &action).await.map_err(not_noted)?;
    let pin = read(joining(&state)?, Joining::own_pin).await?;
    let made = session.create_join_token(request, pin.hex()).await?;
    let mut response = (StatusCode::CREATED, no_store(), Json(made)).into_response();
    keep_to_own_pages(response.headers_mut());
    Ok(response)
}

/// `POST /v1/join/certificate`.
pub(super) async fn certificate(
    State(state): State<AppState>,
    address: Option<Extension<PeerAddress>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let joining = joining(&state)?;
    if !joining.signs() {
        let reason = "this node signs no certificates: ask one that is started with --ca-key";
        return Err(ApiError::new(ErrorCode::Conflict, reason));
    }
    let SignCertificate { request } = json_body(&state, &headers, body, BODY_BYTES_MAX).await?;
    let token = shown(&headers)?;
    let session = state.session(Principal::Program).ok_or_else(ApiError::waiting)?;
    // Nothing is done or noted for whoever has no token.
    session.known_join_token(&token).await?;
    let parsed = spawn_blocking(move || SigningRequest::read(&request)).await;
    let parsed = parsed.map_err(|error| error.to_string()).and_then(|parsed| parsed);
    let invalid = |reason: String| ApiError::new(ErrorCode::InvalidBody, reason).field("request");
    let request = parsed.map_err(invalid)?;
    let key = request.key().0;
    let info = session.join_token(&token, &JoinUse::Key(key)).await?;
    let address = address_of(address.map(|Extension(address)| address).as_ref());
    let action = format!("POST /v1/join/certificate, with join token {}: {}", token.id, info.node);
    session.note_admin_action(address, &action).await.map_err(not_noted)?;
    session.certify_join(&token, key).await?;
    let node = info.node.clone();
    let sign = move |joining: &Joining| {
        Ok((joining.sign(&request, &info.node, &info.hosts)?, joining.authorities()?))
    };
    let (certificate, authorities) = read(joining, sign).await?;
    Ok((no_store(), Json(SignedCertificate { node, certificate, authorities })).into_response())
}

/// `POST /v1/join`.
pub(super) async fn join(
    State(state): State<AppState>,
    address: Option<Extension<PeerAddress>>,
    own: ClientCertificate,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Joined>, ApiError> {
    joining(&state)?;
    let request: AddMember = json_body(&state, &headers, body, BODY_BYTES_MAX).await?;
    let token = shown(&headers)?;
    check_member(&request)?;
    if !request.name.as_deref().is_some_and(|name| own.is_of(name)) {
        let reason = "a node joins with a certificate that has its name";
        return Err(ApiError::new(ErrorCode::Forbidden, reason).field("name"));
    }
    let session = state.session(Principal::Program).ok_or_else(ApiError::waiting)?;
    // Nothing is noted for whoever has no token, or a used one.
    session.check_joining(&token, &request).await?;
    session.refuse_taken_place(&request)?;
    note_joining(&session, address, &format!("POST /v1/join, with join token {}", token.id), &request)
        .await?;
    Ok(Json(session.join(&token, request).await?))
}

fn joining(state: &AppState) -> Result<Joining, ApiError> {
    let reason = "this node has no certificate of an authority of its own (--tls-ca), so none is given";
    state.joining.clone().ok_or_else(|| ApiError::new(ErrorCode::NotFound, reason))
}

/// The join token that a request shows.
fn shown(headers: &HeaderMap) -> Result<JoinTokenText, ApiError> {
    let token = bearer(headers).flatten().and_then(|text| JoinTokenText::parse(&TokenText::new(text)));
    let reason = "`Authorization` has no join token: expected `Bearer lsj_…`";
    token.ok_or_else(|| ApiError::new(ErrorCode::Unauthorized, reason).field("authorization"))
}

/// What the files say now.
async fn read<T: Send + 'static>(
    joining: Joining,
    read: impl FnOnce(&Joining) -> Result<T, String> + Send + 'static,
) -> Result<T, ApiError> {
    let found = spawn_blocking(move || read(&joining)).await.map_err(|error| error.to_string());
    found.and_then(|found| found).map_err(|reason| {
        if let Some(omitted) = FILES_LINES.admit() {
            tracing::warn!(reason, omitted, "the files of this node's certificates cannot be used");
        }
        ApiError::new(
            ErrorCode::Unavailable,
            "the files of this node's certificates cannot be used: its log says why",
        )
    })
}
