//! Who may use which route, once requests need a token.
//!
//! The table names every route with every method, and what is not in it is refused: a test holds it against the router. What a
//! request for keys needs depends on the keys, so its session judges that.

use super::api_error::ApiError;
use super::client_certificate::principal_of;
use super::dashboard;
use super::origin;
use super::state::AppState;
use crate::api::ErrorCode;
use crate::cache::{Need, Role};
use crate::node::Principal;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody.
    Open,
    /// Its session judges each key, prefix or operation.
    ByKeys,
    /// Whoever may do this with all keys.
    AllKeys(Role),
    /// Whoever has this role.
    Role(Role),
    /// An admin, about this node alone: also where there is no majority.
    AdminHere,
}

/// On a request that came before the node had its cluster: nobody could judge it, so it gets no session, though the node may have
/// its cluster by then.
#[derive(Debug, Clone, Copy)]
pub(super) struct CameTooEarly;

/// The access of each route. `None` is for nobody.
fn access_of(route: &str, method: &str) -> Option<Access> {
    use Access::{AdminHere, AllKeys, ByKeys, Open, Role as Has};
    use Role::{Admin, Observe, Read};
    let method = if method == "HEAD" { "GET" } else { method };
    Some(match (method, route) {
        // A browser asks for what a page is allowed to, before the page asks. It is told nothing else.
        ("OPTIONS", _) => Open,

        ("GET", "/livez" | "/readyz" | "/ping" | "/health") => Open,
        // What nodes tell each other before they have a cluster: names and addresses.
        ("GET", "/v1/introduction") => Open,
        // Public certificates; and for nodes that have a join token, which the handler looks at.
        ("GET", "/v1/authorities") | ("POST", "/v1/join" | "/v1/join/certificate") => Open,
        // The page and what it consists of, without data, and the description of all this.
        ("GET", "/assets/{file}" | "/v1/openapi.json") => Open,
        ("GET", path) if dashboard::is_view(path) => Open,
        // Each page says who it is when it connects.
        (_, "/socket.io" | "/socket.io/") => Open,
        // Unknown paths, which are refused by name.
        (_, "/api/{*rest}" | "/v1/kv/") | ("DELETE", "/api/cache/") => Open,

        ("GET" | "PUT" | "DELETE", "/v1/kv/{key}") => ByKeys,
        ("POST", "/v1/kv/{key}/incr" | "/v1/kv/{key}/expire" | "/v1/kv/{key}/persist") => ByKeys,
        ("DELETE", "/v1/kv") | ("POST", "/v1/batch" | "/v1/get") => ByKeys,
        ("GET", "/v1/keys" | "/v1/changes" | "/v1/digest/range" | "/v1/watch" | "/v1/live") => ByKeys,
        ("GET" | "POST", "/v1/sessions") | ("DELETE", "/v1/sessions/{id}") => ByKeys,
        ("POST", "/v1/sessions/{id}/renew") | ("GET", "/v1/locks") => ByKeys,
        ("GET" | "POST" | "DELETE", "/v1/locks/{name}") => ByKeys,
        ("GET" | "POST" | "DELETE", "/api/cache") => ByKeys,
        ("GET" | "POST" | "DELETE", "/api/cache/bulk") => ByKeys,
        ("GET" | "DELETE", "/api/cache/{key}") => ByKeys,

        // It names clients and users.
        ("GET", "/v1/redis") => Has(Admin),

        // They name keys.
        ("GET", "/v1/cache" | "/api/sync/history") => AllKeys(Read),

        (
            "GET",
            "/metrics" | "/v1/status" | "/v1/nodes" | "/v1/old-nodes" | "/v1/members" | "/v1/lineage"
            | "/v1/digest",
        ) => Has(Observe),
        ("GET", "/v1/time") => Has(Observe),
        ("GET", "/v1/config" | "/v1/samples" | "/v1/detached" | "/v1/reconcile") => Has(Observe),
        ("GET", "/api/metrics" | "/api/sync/status") => Has(Observe),

        ("PUT", "/v1/config") => Has(Admin),
        ("POST", "/v1/members" | "/v1/members/{id}/promote" | "/v1/leader" | "/v1/upgrade") => Has(Admin),
        ("DELETE", "/v1/members/{id}") | ("POST", "/v1/members/{id}/replace") => Has(Admin),
        ("GET" | "POST", "/v1/snapshot") => Has(Admin),
        ("POST", "/v1/reconcile") => Has(Admin),
        ("POST", "/v1/fence" | "/v1/detach" | "/v1/attach") | ("GET", "/v1/losers") => AdminHere,
        ("GET", "/v1/audit") | ("GET" | "POST" | "DELETE", "/v1/blocks") => Has(Admin),
        ("GET" | "POST", "/v1/tokens") | ("DELETE", "/v1/tokens/{id}") => Has(Admin),
        ("POST", "/v1/tokens/{id}/rotate") | ("PUT", "/v1/tokens/{id}/limits") => Has(Admin),
        ("POST", "/v1/join-tokens") => Has(Admin),
        // Whoever has a token may see what it allows.
        ("GET", "/v1/token") => Has(Observe),
        // They look at the token that they are sent.
        ("POST" | "DELETE", "/v1/login") => Open,
        ("GET" | "PUT", "/v1/debug/links") | ("POST", "/v1/debug/corrupt") => AdminHere,
        ("POST", "/api/strategy") => Has(Admin),
        ("POST", "/api/sync/force" | "/api/sync/toggle") => AdminHere,
        _ => return None,
    })
}

/// Whether it is an operator's action: what only an admin may change, and what has all data. The steps of a merge are many; their
/// handler notes the first and the last.
pub(super) fn is_noted(route: &str, method: &str) -> bool {
    match method {
        "GET" => route == "/v1/snapshot",
        "HEAD" | "OPTIONS" => false,
        // Most requests are for keys.
        _ if route.starts_with("/v1/kv") || route == "/v1/batch" => false,
        // Nobody is an operator there, and who joins must be known all the same.
        _ if route == "/v1/join" || route == "/v1/join/certificate" => true,
        _ => match access_of(route, method) {
            // To write a snapshot on a node's own disk changes nothing.
            Some(Access::Role(Role::Admin)) => route != "/v1/reconcile" && route != "/v1/snapshot",
            // That only has the node catch up.
            Some(Access::AdminHere) => route != "/api/sync/force",
            _ => false,
        },
    }
}

/// Whether the handler writes the note, with whom it is about: a node that joins. One that cannot join yet asks again and again, and
/// must not push out what operators did, so nothing is noted where it is refused at once.
pub(super) fn is_noted_by_its_handler(route: &str, method: &str) -> bool {
    method == "POST"
        && matches!(route, "/v1/members" | "/v1/join-tokens" | "/v1/join" | "/v1/join/certificate")
}

/// Whether it changes nothing or is about this node alone, and must be possible where there is no majority.
pub(super) fn is_for_this_node(route: &str, method: &str) -> bool {
    route == "/v1/snapshot" || access_of(route, method) == Some(Access::AdminHere)
}

/// Notes who asks, and refuses who may not use this route.
///
/// # Errors
/// `unauthorized`, `forbidden`, `unavailable`.
pub(super) async fn authorize(
    request: &mut Request,
    route: Option<&str>,
    state: &AppState,
) -> Result<(), ApiError> {
    let principal = match principal(request.headers(), state) {
        Some(Principal::Anyone) => match principal_of(request) {
            Some(certified) => Some(certified),
            // A page of this node's own, which has logged in.
            None => in_cookie(request, state),
        },
        shown => shown,
    };
    let access = match route {
        // An unknown path is told apart from a forbidden one by those only who may ask.
        None => Some(Access::Role(Role::Observe)),
        Some(route) => access_of(route, request.method().as_str()),
    };
    let need = match access {
        Some(Access::Open) => None,
        // A good token must be shown. What it allows is judged with the keys.
        Some(Access::ByKeys) => Some(Need::Role(Role::Observe)),
        Some(Access::AllKeys(role)) => Some(Need::Prefix(role, String::new())),
        Some(Access::Role(role)) => Some(Need::Role(role)),
        Some(Access::AdminHere) => Some(Need::Role(Role::Admin)),
        None => Some(Need::Role(Role::Observe)),
    };
    let asks = state.front.needs_token();
    let is_open = access == Some(Access::Open) || !asks;
    let Some(principal) = principal.or(is_open.then_some(Principal::Anyone)) else {
        let reason = match state.jwt {
            None => "`Authorization` has no token: expected `Bearer lsk_…`",
            Some(_) => {
                "`Authorization` has no token: expected `Bearer lsk_…`, or a JSON Web Token that is good now"
            }
        };
        return Err(unauthorized(reason));
    };
    let session = state.session(principal.clone());
    request.extensions_mut().insert(principal);
    if let Some(need) = need {
        match (session, access) {
            (None, _) => drop(request.extensions_mut().insert(CameTooEarly)),
            (Some(session), Some(Access::AdminHere)) => session.authorize_here(&need).await?,
            (Some(session), Some(Access::ByKeys)) => session.authorize_for_keys().await?,
            (Some(session), _) => session.authorize(&need).await?,
        }
    }
    match access {
        Some(_) => Ok(()),
        None if !state.front.needs_token() => Ok(()),
        None => Err(ApiError::new(ErrorCode::Forbidden, "this method of this path is for nobody")),
    }
}

/// Who the request says it is from. `None`: it shows what is no token.
pub(super) fn principal(headers: &HeaderMap, state: &AppState) -> Option<Principal> {
    match bearer(headers)? {
        None => Some(Principal::Anyone),
        Some(token) => principal_with(token, state),
    }
}

/// What stands where a token does, if anything. `None`: it cannot be one.
pub(super) fn bearer(headers: &HeaderMap) -> Option<Option<&str>> {
    let Some(shown) = headers.get(header::AUTHORIZATION) else { return Some(None) };
    let (scheme, token) = shown.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Some(token.trim()))
}

/// Whoever has this token: one of the cluster's, or one that somebody else has signed.
pub(super) fn principal_with(token: &str, state: &AppState) -> Option<Principal> {
    let foreign = || state.jwt.as_ref().and_then(|jwt| jwt.principal(token));
    Principal::of_token(token).or_else(foreign)
}

/// The session in a cookie, if its page is this node's own: a browser sends cookies whoever asks. Cookies do not tell ports
/// apart, so each cluster's has a name of its own.
fn in_cookie(request: &Request, state: &AppState) -> Option<Principal> {
    let Some(name) = cookie_name(state) else { return Some(Principal::Anyone) };
    let Some(token) = cookie(request.headers(), &name) else { return Some(Principal::Anyone) };
    match origin::is_own_page(request, &state.sites) {
        // One that is none any more is as good as no cookie.
        true => Some(Principal::of_token(token).unwrap_or(Principal::Anyone)),
        false => Some(Principal::Anyone),
    }
}

/// The first cookie of this name.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    let mut pairs =
        cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(named, _)| *named == name).map(|(_, value)| value)
}

/// The name of the cookie with a session, once the node has its cluster.
pub(super) fn cookie_name(state: &AppState) -> Option<String> {
    let lineage = state.front.lineage()?;
    let cluster = lineage.cluster_id().get(..8)?;
    // With this prefix a browser takes it over HTTPS only, and keeps it to this host (RFC 6265bis, 4.1.3).
    let prefix = if state.tls.is_some() { "__Host-" } else { "" };
    Some(format!("{prefix}lockstep-{cluster}"))
}

/// How a response with 401 says how to ask again.
pub(super) const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer error=\"invalid_token\"");

fn unauthorized(reason: &str) -> ApiError {
    ApiError::new(ErrorCode::Unauthorized, reason).field("authorization")
}
