//! The names of this server's own headers, made once: to make one checks each of its characters.

use crate::api;
use axum::http::HeaderName;

pub(super) const INDEX: HeaderName = HeaderName::from_static(api::INDEX);
pub(super) const TERM: HeaderName = HeaderName::from_static(api::TERM);
pub(super) const HISTORY: HeaderName = HeaderName::from_static(api::HISTORY);
pub(super) const CONSISTENCY: HeaderName = HeaderName::from_static(api::CONSISTENCY);
pub(super) const TTL_MS: HeaderName = HeaderName::from_static(api::TTL_MS);
pub(super) const PREVIOUS_REVISION: HeaderName = HeaderName::from_static(api::PREVIOUS_REVISION);
pub(super) const ENTRY: HeaderName = HeaderName::from_static(api::ENTRY);
pub(super) const TIME_MS: HeaderName = HeaderName::from_static(api::TIME_MS);
pub(super) const ORIGIN: HeaderName = HeaderName::from_static(api::ORIGIN);
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static(api::IDEMPOTENCY_KEY);
pub(super) const IDEMPOTENCY_SENT_AFTER: HeaderName = HeaderName::from_static(api::IDEMPOTENCY_SENT_AFTER);
pub(super) const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static(api::IDEMPOTENCY_REPLAYED);
/// One that the library has no name for.
pub(super) const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");
