//! Asking other nodes over HTTP: who they are, and whether this one may join. A build without the feature `client` cannot.

use super::error::StartError;
#[cfg(not(feature = "client"))]
use crate::api::Introduction;
use crate::api::{AddMember, Joined};

#[cfg(feature = "client")]
pub(super) use crate::client::introductions;

/// Asks the cluster behind a URL to take a node in.
///
/// # Errors
/// [`StartError::Join`].
#[cfg(feature = "client")]
pub(super) async fn join(url: &str, request: &AddMember) -> Result<Joined, StartError> {
    crate::client::join(url, request).await.map_err(StartError::Join)
}

/// What this build cannot do.
#[cfg(not(feature = "client"))]
const NO_CLIENT: &str = "this build asks no other nodes over HTTP: the feature `client` is off";

#[cfg(not(feature = "client"))]
pub(super) async fn introductions(urls: &[String]) -> Vec<Result<Introduction, String>> {
    urls.iter().map(|_| Err(NO_CLIENT.to_owned())).collect()
}

#[cfg(not(feature = "client"))]
pub(super) async fn join(_: &str, _: &AddMember) -> Result<Joined, StartError> {
    Err(StartError::Join(NO_CLIENT.into()))
}
