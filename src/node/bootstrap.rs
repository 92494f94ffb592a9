//! Bootstraps a cluster from nodes that start with a list of URLs only, in any order.
//!
//! Each node requests the [`NodeInfo`] behind every URL of its list. A node is identified by the UUID of its data
//! folder, so it does not matter how a URL is written, or whether a list contains the node itself. When all nodes have
//! met all others and their lists agree, the node whose data folder has the lowest UUID writes the *founding record*:
//! the cluster's id, and which data folder is which node. The other nodes adopt it. If the cluster exists already, a
//! node whose data folder is not in the record is refused: it is new or has lost its data, and must join. With
//! [`ReplaceLost`](super::ReplaceLost) it joins by itself, and from then on founds nothing.

use super::discovery::node_infos;
use super::identity::{Identity, store_uuid};
use super::{NodeOptions, Origin, StartError};
use crate::api::{Founding, FoundingMember, NodeInfo};
use crate::cache::CacheConfig;
use crate::lineage::Lineage;
use crate::replica::wall_ms;
use crate::storage::LogStore;
use crate::tls::ClientTls;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Most nodes that can form a cluster together. Numbers up to this one are reserved for them; the log assigns later
/// ones.
pub(super) const FOUNDING_NODES_MAX: usize = 16;

const RETRY_PAUSE: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);

/// What this node tells other nodes about itself, before and after it belongs to a cluster. Cheap to clone.
#[derive(Clone)]
pub struct Bootstrap {
    node_info: Arc<Mutex<NodeInfo>>,
}

impl Bootstrap {
    pub(super) fn new(
        options: &NodeOptions,
        store: &LogStore,
        peer: &str,
        identity: Option<&Identity>,
    ) -> Self {
        let node_info = NodeInfo {
            name: options.name.clone(),
            http: options.http_advertise.clone(),
            peer: peer.to_owned(),
            store_uuid: store_uuid(store),
            list: None,
            founding: identity.and_then(|identity| identity.founding.clone()),
            cluster_id: identity.map(|identity| identity.cluster_id().to_owned()),
            config: match &options.origin {
                Origin::Alone { config } | Origin::Form { config, .. } => Some(config.clone()),
                Origin::Join { .. } => None,
            },
        };
        Self { node_info: Arc::new(Mutex::new(node_info)) }
    }

    /// The answer to `GET /v1/introduction`.
    pub fn node_info(&self) -> NodeInfo {
        self.node_info.lock().expect("no panic while held").clone()
    }

    pub(super) fn belongs_to(&self, identity: &Identity) {
        let mut node_info = self.node_info.lock().expect("no panic while held");
        node_info.founding.clone_from(&identity.founding);
        node_info.cluster_id = Some(identity.cluster_id().to_owned());
    }

    fn met(&self, list: BTreeSet<String>) {
        self.node_info.lock().expect("no panic while held").list = Some(list);
    }
}

/// The founding record of a cluster of this node alone.
pub(super) fn found_alone(me: NodeInfo, config: CacheConfig) -> Founding {
    found([me], config)
}

fn found(nodes: impl IntoIterator<Item = NodeInfo>, config: CacheConfig) -> Founding {
    let numbered = (1..).zip(nodes);
    let members = numbered.map(|(id, node)| FoundingMember {
        id,
        name: node.name.unwrap_or_else(|| format!("n{id}")),
        http: node.http,
        peer: node.peer,
        store_uuid: node.store_uuid,
    });
    let cluster_id = uuid::Uuid::new_v4().to_string();
    Founding { cluster_id, founded_at_ms: wall_ms(), members: members.collect(), config }
}

/// A node's identity according to a founding record; `None` if its data folder is not in the record.
pub(super) fn identity_by(founding: &Founding, store_uuid: &str) -> Option<Identity> {
    let me = founding.members.iter().find(|member| member.store_uuid == store_uuid)?;
    Some(Identity {
        lineage: Lineage::founded(&founding.cluster_id, founding.founded_at_ms),
        node_id: me.id,
        name: me.name.clone(),
        peer: me.peer.clone(),
        founding: Some(founding.clone()),
        voters_awaited: 0,
        wants_vote: None,
        superseded_by: None,
        leaving: None,
        comes_from: None,
        detached: None,
    })
}

/// What nodes that ask each other find.
pub(super) enum Formed {
    /// This node's identity in the cluster that they have formed.
    Founded(Box<Identity>),
    /// The id of a cluster that exists already, and was not founded with this data folder.
    Exists(String),
}

/// Asks the other nodes until there is a cluster. With `joins` it returns one that exists already without this data folder, and
/// otherwise refuses it.
///
/// # Errors
/// [`StartError::Bootstrap`]: the lists disagree, or the cluster exists and was not founded with this data folder.
pub(super) async fn form(
    bootstrap: &Bootstrap,
    urls: &[String],
    config: &CacheConfig,
    tls: &ClientTls,
    joins: bool,
) -> Result<Formed, StartError> {
    let mut pause = RETRY_PAUSE;
    let mut last_reason = String::new();
    loop {
        let round = Round::ask(bootstrap.node_info(), urls, tls).await;
        match round.decide(bootstrap, config).map_err(StartError::Bootstrap)? {
            Step::Founded(identity) => return Ok(Formed::Founded(identity)),
            Step::Exists { cluster_id, .. } if joins => return Ok(Formed::Exists(cluster_id)),
            Step::Exists { refusal, .. } => return Err(StartError::Bootstrap(refusal)),
            Step::Wait(reason) => {
                if reason != last_reason {
                    tracing::info!("{reason}");
                    last_reason = reason;
                    pause = RETRY_PAUSE;
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_PAUSE_MAX);
    }
}

/// The answers of one round.
struct Round {
    me: NodeInfo,
    /// The nodes that answered, and this node, by the UUID of their data folders.
    nodes: BTreeMap<String, NodeInfo>,
    missing: Vec<String>,
}

enum Step {
    Founded(Box<Identity>),
    Exists { cluster_id: String, refusal: String },
    Wait(String),
}

impl Round {
    async fn ask(me: NodeInfo, urls: &[String], tls: &ClientTls) -> Self {
        let answers = node_infos(urls, tls).await;
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

    fn decide(&self, bootstrap: &Bootstrap, config: &CacheConfig) -> Result<Step, String> {
        if let Some(step) = self.existing_cluster()? {
            return Ok(step);
        }
        if !self.missing.is_empty() {
            return Ok(Step::Wait(format!("waiting for {}", self.missing.join(", "))));
        }
        if self.nodes.len() > FOUNDING_NODES_MAX {
            return Err(format!("at most {FOUNDING_NODES_MAX} nodes form a cluster; later ones join it"));
        }
        let mine: BTreeSet<String> = self.nodes.keys().cloned().collect();
        bootstrap.met(mine.clone());
        for node in self.nodes.values().filter(|node| node.store_uuid != self.me.store_uuid) {
            match &node.list {
                Some(theirs) if *theirs != mine => return Err(self.disagreement(node, theirs, &mine)),
                Some(_) => {}
                None => return Ok(Step::Wait(format!("waiting for {} to meet the others", node.http))),
            }
        }
        // The founder is chosen by UUID, which never changes. Numbers are assigned by address, which people see.
        if self.nodes.keys().next() != Some(&self.me.store_uuid) {
            return Ok(Step::Wait("waiting for the first node to found the cluster".into()));
        }
        let mut order: Vec<NodeInfo> = self.nodes.values().cloned().collect();
        order.sort_by_key(|node| natural(&node.http));
        let config = order.first().and_then(|first| first.config.clone()).unwrap_or_else(|| config.clone());
        let founding = found(order, config);
        let identity = identity_by(&founding, &self.me.store_uuid).ok_or("the founder founds itself")?;
        Ok(Step::Founded(identity.into()))
    }

    /// If a node belongs to a cluster already: this node's identity by its founding record, or else that cluster. Members that
    /// joined have no founding record, so all are asked for one first.
    fn existing_cluster(&self) -> Result<Option<Step>, String> {
        let mut foundings = self.nodes.values().filter_map(|node| node.founding.as_ref());
        if let Some(identity) = foundings.find_map(|founding| identity_by(founding, &self.me.store_uuid)) {
            return Ok(Some(Step::Founded(identity.into())));
        }
        let mut members = self.nodes.values().filter_map(|node| Some((node, node.cluster_id.as_ref()?)));
        let Some((node, cluster_id)) = members.next() else { return Ok(None) };
        if let Some((other, other_id)) = members.find(|(_, other)| *other != cluster_id) {
            return Err(format!(
                "{} belongs to cluster {cluster_id}, and {} to cluster {other_id}: only one of them can be this node's",
                node.http, other.http
            ));
        }
        let name = self.me.name.as_deref().unwrap_or("NAME");
        let refusal = format!(
            "{} belongs to cluster {cluster_id} already, and this data folder is not one of those that founded it; join \
             that cluster instead (--join {}). If this node's data folder is lost, start it with --replace-lost by-hand and \
             run `lockstep member replace {name}`",
            node.http, node.http
        );
        Ok(Some(Step::Exists { cluster_id: cluster_id.clone(), refusal }))
    }

    fn disagreement(&self, node: &NodeInfo, theirs: &BTreeSet<String>, mine: &BTreeSet<String>) -> String {
        let name = |store: &String| {
            self.nodes.get(store).map_or_else(|| "a node unknown here".into(), |n| n.http.clone())
        };
        let only_theirs: Vec<String> = theirs.difference(mine).map(name).collect();
        let only_mine: Vec<String> = mine.difference(theirs).map(name).collect();
        let mut sentences = vec!["the lists of nodes disagree".to_owned()];
        if !only_theirs.is_empty() {
            sentences.push(format!(
                "the list of {} has {}, this node's has not",
                node.http,
                only_theirs.join(", ")
            ));
        }
        if !only_mine.is_empty() {
            sentences.push(format!(
                "this node's list has {}, that of {} has not",
                only_mine.join(", "),
                node.http
            ));
        }
        sentences.push("give every node the same list".to_owned());
        sentences.join("; ")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u64, cluster: Option<&str>, founding: Option<Founding>) -> NodeInfo {
        NodeInfo {
            name: Some(format!("n{number}")),
            http: format!("http://h:{number}"),
            peer: format!("h:{}", 1_000 + number),
            store_uuid: format!("folder {number}"),
            list: None,
            founding,
            cluster_id: cluster.map(str::to_owned),
            config: None,
        }
    }

    /// What a node decides that has met these nodes, with an empty folder of its own.
    fn decided(others: &[NodeInfo], missing: &[&str]) -> Result<Step, String> {
        let me = node(9, None, None);
        let nodes = others.iter().chain([&me]).map(|node| (node.store_uuid.clone(), node.clone())).collect();
        let missing = missing.iter().map(|url| (*url).to_owned()).collect();
        let bootstrap = Bootstrap { node_info: Arc::new(Mutex::new(me.clone())) };
        let round = Round { me, nodes, missing };
        round.decide(&bootstrap, &CacheConfig::default())
    }

    /// A node without data founds nothing while one that it knows is missing, and nothing beside a cluster that exists.
    #[test]
    fn nodes_that_lost_everything_form_no_second_cluster() {
        let member = node(1, Some("c"), None);
        for missing in [&[][..], &["http://h:2"]] {
            match decided(std::slice::from_ref(&member), missing) {
                Ok(Step::Exists { cluster_id, refusal }) => {
                    assert_eq!(cluster_id, "c");
                    for words in
                        ["--join http://h:1", "--replace-lost by-hand", "`lockstep member replace n9`"]
                    {
                        assert!(refusal.contains(words), "{refusal}");
                    }
                }
                _ => panic!("there is a cluster"),
            }
        }
        assert!(matches!(decided(&[node(2, None, None)], &["http://h:1"]), Ok(Step::Wait(_))));
        let two = [member, node(2, Some("other"), None)];
        assert!(
            decided(&two, &[])
                .is_err_and(|reason| reason.contains("cluster c, and http://h:2 to cluster other"))
        );
    }

    /// A member that joined has no founding record. One that has names this node all the same.
    #[test]
    fn a_founding_record_is_found_among_members_that_joined() {
        let founding = found([node(3, None, None), node(9, None, None)], CacheConfig::default());
        let id = founding.cluster_id.clone();
        let others = [node(1, Some(&id), None), node(3, Some(&id), Some(founding))];
        match decided(&others, &[]) {
            Ok(Step::Founded(identity)) => {
                assert_eq!((identity.node_id, identity.cluster_id()), (2, id.as_str()))
            }
            _ => panic!("the record has this folder"),
        }
    }
}
