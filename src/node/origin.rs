//! The origin of a node's identity: it founds a cluster alone, forms one with other nodes, or joins one.

use super::bootstrap::{Formed, form, found_alone, identity_by};
use super::discovery::{join, join_once, node_infos};
use super::error::StartError;
use super::identity::{Identity, store_uuid};
use super::options::{Origin, ReplaceLost};
use super::start::Opened;
use crate::api::{AddMember, Joined, NodeInfo};
use crate::cache::CacheConfig;
use std::time::Duration;
use tokio::time::sleep;

/// How long a node waits before it asks again whether its name is free: an operator has to act first, and where it waits
/// for a time, each request is a log entry.
const IN_PLACE_PAUSE: Duration = Duration::from_secs(5);

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
                let (tls, joins) = (&self.options.client_tls, self.options.replace_lost.is_some());
                match form(&self.bootstrap, urls, config, tls, joins).await? {
                    Formed::Founded(identity) => Ok(*identity),
                    Formed::Exists(cluster_id) => {
                        let joined = self.join_in_place(urls, &cluster_id).await?;
                        // Those of a list are voters.
                        Ok(Identity { wants_vote: Some(true), ..self.identity_of(joined) })
                    }
                }
            }
            Origin::Join { url, .. } => {
                let (token, tls) = (self.options.token.as_ref(), &self.options.client_tls);
                let patient = self.rejoin.is_some() || self.options.replace_lost.is_some();
                Ok(self.identity_of(join(url, &self.wish_to_join(), token, tls, patient).await?))
            }
        }
    }

    /// Joins a cluster that exists already, through whichever node of the list belongs to it, and waits as long as a member has
    /// this node's name. From here on this node founds no cluster, even if no member is left: its list would be that of a second
    /// one.
    async fn join_in_place(&self, urls: &[String], cluster_id: &str) -> Result<Joined, StartError> {
        let (token, tls) = (self.options.token.as_ref(), &self.options.client_tls);
        let is_member = |node: &NodeInfo| node.cluster_id.as_deref() == Some(cluster_id);
        let (mut logged, mut round) = (String::new(), 0_usize);
        loop {
            let answers = urls.iter().zip(node_infos(urls, tls).await);
            let members = answers.filter(|(_, answer)| answer.as_ref().is_ok_and(is_member));
            let members: Vec<&String> = members.map(|(url, _)| url).collect();
            let reason = match members.get(round % members.len().max(1)) {
                None => format!("no node of the list answers as a member of cluster {cluster_id}"),
                Some(url) => match join_once(url, &self.wish_to_join(), token, tls).await? {
                    Ok(joined) => return Ok(joined),
                    Err(refused) => refused,
                },
            };
            if reason != logged {
                tracing::warn!("this data folder is empty, and the cluster is there already: {reason}");
                logged = reason;
            }
            sleep(IN_PLACE_PAUSE).await;
            round = round.wrapping_add(1);
        }
    }

    fn wish_to_join(&self) -> AddMember {
        AddMember {
            name: self.options.name.clone(),
            http: self.options.http_advertise.clone(),
            peer: self.resources.peer_address.clone(),
            store_uuid: store_uuid(&self.resources.store),
            feature_level: self.options.release.feature_level,
            replace_silent_ms: self.options.replace_lost.and_then(ReplaceLost::silent_ms),
        }
    }

    /// The identity of a node that was added to a cluster.
    fn identity_of(&self, joined: Joined) -> Identity {
        let Joined { lineage, id, name } = joined;
        Identity {
            lineage,
            node_id: id,
            name,
            peer: self.resources.peer_address.clone(),
            founding: None,
            voters_awaited: self.rejoin.as_ref().map_or(0, |rejoin| rejoin.voters_awaited),
            wants_vote: self.rejoin.as_ref().map(|rejoin| rejoin.voter),
            superseded_by: None,
            leaving: None,
            comes_from: self.rejoin.as_ref().and_then(|rejoin| rejoin.comes_from.clone()),
            detached: None,
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
