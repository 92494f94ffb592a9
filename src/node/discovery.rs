//! Requests to other nodes over HTTP: who they are, and to join their cluster. They need the feature `client`.

use super::error::StartError;
#[cfg(not(feature = "client"))]
use crate::api::NodeInfo;
use crate::api::{AddMember, Joined, TokenText};
#[cfg(feature = "client")]
use crate::client::ClientToken;
use crate::tls::ClientTls;

#[cfg(feature = "client")]
pub(super) use crate::client::node_infos;

/// Asks the cluster behind a URL to add a node. With `patient` it waits for that cluster without a time limit.
///
/// # Errors
/// [`StartError::Join`].
#[cfg(feature = "client")]
pub(super) async fn join(
    url: &str,
    request: &AddMember,
    token: Option<&TokenText>,
    tls: &ClientTls,
    patient: bool,
) -> Result<Joined, StartError> {
    let token = token.map(ClientToken::new).transpose().map_err(StartError::Join)?;
    crate::client::join(url, request, token.as_ref(), tls, patient).await.map_err(StartError::Join)
}

/// Why a node was not added yet.
pub(super) struct NotYet {
    pub reason: String,
    /// Whether a member answered that the cluster cannot do it as it is, rather than that it cannot answer.
    pub conflicts: bool,
}

/// Asks the cluster behind a URL once to add a node. `Ok(Err(_))`: it makes sense to ask again later.
///
/// # Errors
/// [`StartError::Join`]: it does not.
#[cfg(feature = "client")]
pub(super) async fn join_once(
    url: &str,
    request: &AddMember,
    token: Option<&TokenText>,
    tls: &ClientTls,
) -> Result<Result<Joined, NotYet>, StartError> {
    let token = token.map(ClientToken::new).transpose().map_err(StartError::Join)?;
    match crate::client::join_once(url, request, token.as_ref(), tls).await {
        Ok(joined) => Ok(Ok(joined)),
        Err(refused) if refused.can_wait => {
            Ok(Err(NotYet { reason: refused.reason, conflicts: refused.conflicts }))
        }
        Err(refused) => Err(StartError::Join(refused.reason)),
    }
}

/// The error of a build without the feature.
#[cfg(not(feature = "client"))]
const NO_CLIENT: &str = "this build asks no other nodes over HTTP: the feature `client` is off";

#[cfg(not(feature = "client"))]
pub(super) async fn node_infos(urls: &[String], _: &ClientTls) -> Vec<Result<NodeInfo, String>> {
    urls.iter().map(|_| Err(NO_CLIENT.to_owned())).collect()
}

#[cfg(not(feature = "client"))]
pub(super) async fn join(
    _: &str,
    _: &AddMember,
    _: Option<&TokenText>,
    _: &ClientTls,
    _: bool,
) -> Result<Joined, StartError> {
    Err(StartError::Join(NO_CLIENT.into()))
}

#[cfg(not(feature = "client"))]
pub(super) async fn join_once(
    _: &str,
    _: &AddMember,
    _: Option<&TokenText>,
    _: &ClientTls,
) -> Result<Result<Joined, NotYet>, StartError> {
    Err(StartError::Join(NO_CLIENT.into()))
}
