//! The origin of a node's identity: it founds a cluster alone, forms one with other nodes, or joins one.

use super::bootstrap::{Formed, form, found_alone, identity_by};
use super::discovery::{NotYet, join, join_once, node_infos};
use super::error::StartError;
use super::identity::{Identity, store_uuid};
use super::options::{Origin, ReplaceLost};
use super::start::Opened;
use crate::api::{AddMember, Joined, NodeInfo};
use crate::cache::CacheConfig;
use std::time::Duration;
use tokio::time::sleep;

/// How long a node waits that has found no member to ask, or none that can tell.
const NO_MEMBER_PAUSE: Duration = Duration::from_secs(5);

/// The member that is asked in this round: the one that answered last time that the cluster cannot do it yet, because notes
/// of equal requests to one node count as one; else each in turn.
fn member_to_ask<'a>(
    members: &[&'a String],
    round: usize,
    stays_with: Option<&'a String>,
) -> Option<&'a String> {
    let stays_with = stays_with.filter(|url| members.contains(url));
    stays_with.or_else(|| members.get(round % members.len().max(1)).copied())
}

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
        let wish = self.wish_to_join();
        let (mut logged, mut round, mut stays_with) = (String::new(), 0, None::<&String>);
        loop {
            let answers = urls.iter().zip(node_infos(urls, tls).await);
            let members = answers.filter(|(_, answer)| answer.as_ref().is_ok_and(is_member));
            let members: Vec<&String> = members.map(|(url, _)| url).collect();
            let asked = member_to_ask(&members, round, stays_with);
            let not_yet = match asked {
                None => NotYet {
                    reason: format!("no node of the list answers as a member of cluster {cluster_id}"),
                    conflicts: false,
                },
                Some(url) => match join_once(url, &wish, token, tls).await? {
                    Ok(joined) => return Ok(joined),
                    Err(not_yet) => not_yet,
                },
            };
            if not_yet.reason != logged {
                let reason = &not_yet.reason;
                tracing::warn!("this data folder is empty, and the cluster is there already: {reason}");
                logged = not_yet.reason;
            }
            sleep(if not_yet.conflicts { wish.pause_at_conflict() } else { NO_MEMBER_PAUSE }).await;
            stays_with = asked.filter(|_| not_yet.conflicts);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn wish() -> AddMember {
        let text = String::from;
        AddMember {
            name: Some(text("n1")),
            http: text("http://n1:7171"),
            peer: text("n1:7271"),
            store_uuid: text("0"),
            feature_level: 1,
            replace_silent_ms: None,
        }
    }

    #[test]
    fn a_node_stays_with_the_member_that_answers_not_yet_and_asks_ten_times_within_its_time() {
        let urls = ["a", "b", "c"].map(String::from);
        let [a, b, c] = &urls;
        assert_eq!(member_to_ask(&[], 7, None), None);
        assert_eq!(
            (0..4).map(|round| member_to_ask(&[a, b, c], round, None)).collect::<Vec<_>>(),
            [Some(a), Some(b), Some(c), Some(a)]
        );
        assert_eq!(member_to_ask(&[a, b, c], 2, Some(b)), Some(b));
        assert_eq!(member_to_ask(&[a, c], 1, Some(b)), Some(c), "it does not answer any more");

        let pause =
            |replace_silent_ms| AddMember { replace_silent_ms, ..wish() }.pause_at_conflict().as_secs();
        assert_eq!([Some(600_000), Some(30_000), None].map(pause), [60, 5, 5]);
    }
}
