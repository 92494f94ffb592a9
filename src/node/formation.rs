//! How nodes that start with nothing but a list of URLs become one cluster, whatever the order of start.
//!
//! Each asks every URL of its list who is there. A node is known by the number of its data folder, so it
//! does not matter how a URL is spelt or whether a list names the node itself. When all have met all and
//! their lists agree, the one whose data folder has the lowest number writes the *founding record*: the cluster's id,
//! and which data folder is which node. The others take it over. A node whose data folder is not in the
//! record of a cluster that exists already is refused: it was wiped, or it is new, and has to join.

use super::discovery::introductions;
use super::identity::{Identity, store_uuid};
use super::{NodeOptions, Origin, StartError};
use crate::api::{Founding, FoundingMember, Introduction};
use crate::cache::CacheConfig;
use crate::storage::LogStore;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Most nodes that may form a cluster together: their numbers come before any that the log gives.
pub(super) const FOUNDING_NODES_MAX: usize = 16;

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(2);

/// What this node tells others about itself, before and after it has a cluster. Cheap to clone.
#[derive(Clone)]
pub struct Formation {
    introduction: Arc<Mutex<Introduction>>,
}

impl Formation {
    pub(super) fn new(
        options: &NodeOptions,
        store: &LogStore,
        peer: &str,
        identity: Option<&Identity>,
    ) -> Self {
        let introduction = Introduction {
            name: options.name.clone(),
            http: options.http_advertise.clone(),
            peer: peer.to_owned(),
            store_uuid: store_uuid(store),
            list: None,
            founding: identity.and_then(|identity| identity.founding.clone()),
            cluster_id: identity.map(|identity| identity.cluster_id.clone()),
            config: match &options.origin {
                Origin::Alone { config } | Origin::Form { config, .. } => Some(config.clone()),
                Origin::Join { .. } => None,
            },
        };
        Self { introduction: Arc::new(Mutex::new(introduction)) }
    }

    /// What others are told.
    pub fn introduction(&self) -> Introduction {
        self.introduction.lock().expect("no panic while held").clone()
    }

    pub(super) fn belongs_to(&self, identity: &Identity) {
        let mut introduction = self.introduction.lock().expect("no panic while held");
        introduction.founding.clone_from(&identity.founding);
        introduction.cluster_id = Some(identity.cluster_id.clone());
    }

    fn met(&self, list: BTreeSet<String>) {
        self.introduction.lock().expect("no panic while held").list = Some(list);
    }
}

/// The record of a cluster that this node founds alone.
pub(super) fn found_alone(me: Introduction, config: CacheConfig) -> Founding {
    found([me], config)
}

fn found(nodes: impl IntoIterator<Item = Introduction>, config: CacheConfig) -> Founding {
    let numbered = (1..).zip(nodes);
    let members = numbered.map(|(id, node)| FoundingMember {
        id,
        name: node.name.unwrap_or_else(|| format!("n{id}")),
        http: node.http,
        peer: node.peer,
        store_uuid: node.store_uuid,
    });
    let cluster_id = uuid::Uuid::new_v4().to_string();
    Founding { cluster_id, members: members.collect(), config }
}

/// This node's identity by a founding record; `None` when its data folder is not in it.
pub(super) fn identity_by(founding: &Founding, store_uuid: &str) -> Option<Identity> {
    let me = founding.members.iter().find(|member| member.store_uuid == store_uuid)?;
    Some(Identity {
        cluster_id: founding.cluster_id.clone(),
        incarnations: Identity::first_incarnation(&founding.cluster_id),
        node_id: me.id,
        name: me.name.clone(),
        peer: me.peer.clone(),
        founding: Some(founding.clone()),
    })
}

/// Meets the others until there is a cluster, and returns this node's place in it.
///
/// # Errors
/// [`StartError::Formation`], a sentence: the lists disagree, or the cluster exists without this folder.
pub(super) async fn form(
    formation: &Formation,
    urls: &[String],
    config: &CacheConfig,
) -> Result<Identity, StartError> {
    let mut pause = RETRY_FIRST;
    let mut told = String::new();
    loop {
        let round = Round::ask(formation.introduction(), urls).await;
        match round.decide(formation, config).map_err(StartError::Formation)? {
            Step::Founded(identity) => return Ok(identity),
            Step::Wait(reason) => {
                if reason != told {
                    tracing::info!("{reason}");
                    told = reason;
                    pause = RETRY_FIRST;
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_LAST);
    }
}

/// What one round of asking brought.
struct Round {
    me: Introduction,
    /// The nodes met, by data folder; this one is among them.
    nodes: BTreeMap<String, Introduction>,
    missing: Vec<String>,
}

enum Step {
    Founded(Identity),
    Wait(String),
}

impl Round {
    async fn ask(me: Introduction, urls: &[String]) -> Self {
        let answers = introductions(urls).await;
        let mut nodes = BTreeMap::from([(me.store_uuid.clone(), me.clone())]);
        let mut missing = Vec::new();
        for (url, answer) in urls.iter().zip(answers) {
            match answer {
                Ok(node) if node.store_uuid == me.store_uuid => {}
                Ok(node) => {
                    nodes.insert(node.store_uuid.clone(), node);
                }
                Err(reason) => missing.push(format!("{url} ({reason})")),
            }
        }
        Self { me, nodes, missing }
    }

    fn decide(&self, formation: &Formation, config: &CacheConfig) -> Result<Step, String> {
        for node in self.nodes.values() {
            if let Some(step) = self.existing_cluster(node)? {
                return Ok(step);
            }
        }
        if !self.missing.is_empty() {
            return Ok(Step::Wait(format!("waiting for {}", self.missing.join(", "))));
        }
        if self.nodes.len() > FOUNDING_NODES_MAX {
            return Err(format!("at most {FOUNDING_NODES_MAX} nodes form a cluster; later ones join it"));
        }
        let mine: BTreeSet<String> = self.nodes.keys().cloned().collect();
        formation.met(mine.clone());
        for node in self.nodes.values().filter(|node| node.store_uuid != self.me.store_uuid) {
            match &node.list {
                Some(theirs) if *theirs != mine => return Err(self.disagreement(node, theirs, &mine)),
                Some(_) => {}
                None => return Ok(Step::Wait(format!("waiting for {} to meet the others", node.http))),
            }
        }
        // The founder is chosen by what never changes, the numbers are given by address, which people see.
        if self.nodes.keys().next() != Some(&self.me.store_uuid) {
            return Ok(Step::Wait("waiting for the first node to found the cluster".into()));
        }
        let mut order: Vec<Introduction> = self.nodes.values().cloned().collect();
        order.sort_by_key(|node| natural(&node.http));
        let config = order.first().and_then(|first| first.config.clone()).unwrap_or_else(|| config.clone());
        let founding = found(order, config);
        let identity = identity_by(&founding, &self.me.store_uuid).ok_or("the founder founds itself")?;
        Ok(Step::Founded(identity))
    }

    /// A node that was met belongs to a cluster already: either we are in its record, or we are refused.
    fn existing_cluster(&self, node: &Introduction) -> Result<Option<Step>, String> {
        let Some(cluster_id) = &node.cluster_id else { return Ok(None) };
        let identity = node.founding.as_ref().and_then(|founding| identity_by(founding, &self.me.store_uuid));
        match identity {
            Some(identity) => Ok(Some(Step::Founded(identity))),
            None => Err(format!(
                "{} belongs to cluster {cluster_id} already, and this data folder is not one of those that \
                 founded it; join that cluster instead (--join {})",
                node.http, node.http
            )),
        }
    }

    fn disagreement(
        &self,
        node: &Introduction,
        theirs: &BTreeSet<String>,
        mine: &BTreeSet<String>,
    ) -> String {
        let name = |store: &String| {
            self.nodes.get(store).map_or_else(|| "a node unknown here".into(), |n| n.http.clone())
        };
        let only_theirs: Vec<String> = theirs.difference(mine).map(name).collect();
        let only_mine: Vec<String> = mine.difference(theirs).map(name).collect();
        let mut told = vec!["the lists of nodes disagree".to_owned()];
        if !only_theirs.is_empty() {
            told.push(format!(
                "the list of {} has {}, this node's has not",
                node.http,
                only_theirs.join(", ")
            ));
        }
        if !only_mine.is_empty() {
            told.push(format!(
                "this node's list has {}, that of {} has not",
                only_mine.join(", "),
                node.http
            ));
        }
        told.push("give every node the same list".to_owned());
        told.join("; ")
    }
}

/// Sorts port 5002 before 5010, and 5010 before 15000.
fn natural(url: &str) -> (String, u64) {
    let digits = url.trim_end_matches('/').rsplit(':').next().unwrap_or_default();
    match digits.parse() {
        Ok(port) => (url.trim_end_matches('/').trim_end_matches(digits).to_owned(), port),
        Err(_) => (url.to_owned(), 0),
    }
}
