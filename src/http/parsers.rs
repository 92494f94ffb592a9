//! What reads parts of a request before anybody knows who sent it, for `tests/fuzz` and `benches/hot`.

use super::access;
use super::cursor::Cursor;
use super::extract::{ReadQuery, parse_query};
use super::frontends::Frontends;
use super::hosts::{cannot_be_foreign, host_in, host_of};
use crate::node::Principal;
use axum::http::{HeaderMap, HeaderValue, Uri, header};

/// Who `Authorization` says the request is from. `None`: it is no header's value, or shows what is no token.
pub fn authorization(value: &[u8]) -> Option<Principal> {
    let value = HeaderValue::from_bytes(value).ok()?;
    authorization_in(&HeaderMap::from_iter([(header::AUTHORIZATION, value)]))
}

/// The same, of the headers of a request.
pub fn authorization_in(headers: &HeaderMap) -> Option<Principal> {
    match access::bearer(headers)? {
        None => Some(Principal::Anyone),
        Some(token) => Principal::of_token(token),
    }
}

/// The cookie of this name in a `Cookie` header.
pub fn cookie(value: &[u8], name: &str) -> Option<String> {
    let value = HeaderValue::from_bytes(value).ok()?;
    access::cookie(&HeaderMap::from_iter([(header::COOKIE, value)]), name).map(str::to_owned)
}

/// The host in a `Host` header, and whether no other site can have it.
pub fn host(value: &str) -> Option<(&str, bool)> {
    host_in(value).map(|host| (host, cannot_be_foreign(host)))
}

/// The host in an `Origin` header.
pub fn origin(value: &str) -> Option<&str> {
    host_of(value)
}

/// The origins in `FRONTEND_URL`.
pub fn frontends(urls: &str) -> Option<usize> {
    Frontends::parse(Some(urls)).ok().map(|found| found.origins().len())
}

/// A cursor, as it is written.
pub fn cursor(text: &str) -> Option<String> {
    let Cursor { index, history } = Cursor::parse(text)?;
    Some(history.map_or_else(|| index.to_string(), |history| format!("{index}@{history}")))
}

/// `consistency` and `min_index` in a URL's query.
pub fn read_query(uri: &str) -> Option<(Option<String>, Option<String>)> {
    let query: ReadQuery = parse_query(&uri.parse::<Uri>().ok()?).ok()?;
    Some((query.consistency, query.min_index))
}
