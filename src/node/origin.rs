//! The origin of a node's identity: it founds a cluster alone, forms one with other nodes, or joins one.

use super::bootstrap::{form, found_alone, identity_by};
use super::discovery::{join, node_infos};
use super::error::StartError;
use super::identity::{Identity, store_uuid};
use super::options::Origin;
use super::start::Opened;
use crate::api::{AddMember, Joined};
use crate::cache::CacheConfig;

impl Opened {
    /// Refuses to start if the data folder belongs to another cluster than the one to join. Ignores a URL that does not
    /// answer: a member that restarts must not depend on the node through which it once joined.
    pub(super) async fn refuse_another_cluster(&self, identity: &Identity) -> Result<(), StartError> {
        let Origin::Join { url, .. } = &self.options.origin else { return Ok(()) };
        let mut answers = node_infos(std::slice::from_ref(url), &self.options.client_tls).await;
        match answers.pop() {
            Some(Ok(theirs))
                if theirs.cluster_id.as_ref().is_some_and(|theirs| theirs != identity.cluster_id()) =>
            {
                Err(StartError::Join(format!(
                    "this data folder belongs to another cluster than {url}; remove the folder to join that one, or \
                     leave --join out"
                )))
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn establish_identity(&self) -> Result<Identity, StartError> {
        match &self.options.origin {
            Origin::Alone { config } => self.found_alone(config),
            Origin::Form { urls, config } => {
                form(&self.bootstrap, urls, config, &self.options.client_tls).await
            }
            Origin::Join { url, .. } => {
                let request = AddMember {
                    name: self.options.name.clone(),
                    http: self.options.http_advertise.clone(),
                    peer: self.resources.peer_address.clone(),
                    store_uuid: store_uuid(&self.resources.store),
                    feature_level: self.options.release.feature_level,
                };
                let (token, tls) = (self.options.token.as_ref(), &self.options.client_tls);
                let joined = join(url, &request, token, tls, self.rejoin.is_some()).await?;
                let Joined { lineage, id, name } = joined;
                let peer = self.resources.peer_address.clone();
                Ok(Identity {
                    lineage,
                    node_id: id,
                    name,
                    peer,
                    founding: None,
                    voters_awaited: self.rejoin.as_ref().map_or(0, |rejoin| rejoin.voters_awaited),
                    wants_vote: self.rejoin.as_ref().map(|rejoin| rejoin.voter),
                    superseded_by: None,
                    leaving: None,
                    comes_from: self.rejoin.as_ref().and_then(|rejoin| rejoin.comes_from.clone()),
                    detached: None,
                })
            }
        }
    }

    fn found_alone(&self, config: &CacheConfig) -> Result<Identity, StartError> {
        let me = self.bootstrap.node_info();
        let store_uuid = me.store_uuid.clone();
        let founding = found_alone(me, config.clone());
        identity_by(&founding, &store_uuid)
            .ok_or_else(|| StartError::Identity("the founder is missing".into()))
    }
}
