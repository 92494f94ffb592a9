//! What the nodes answer. All are asked at the same time, so a silent one costs one time limit.

use super::super::common_args::Target;
use super::metrics::Metrics;
use crate::api::{Digests, ErrorCode, MemberStatus, Nodes, Reconciliations, Status};
use crate::client::{Client, ClientError};
use anyhow::Result;
use futures::future::join_all;
use std::collections::BTreeSet;

/// An answer, or why there is none.
pub(super) type Answer<T> = Result<T, String>;

/// A node that was asked, and what it said.
pub(super) struct Asked {
    pub url: String,
    pub answer: Answer<NodeAnswers>,
}

/// What a node that answers says of itself.
pub(super) struct NodeAnswers {
    pub url: String,
    pub status: Status,
    pub is_ready: bool,
    pub metrics: Answer<Metrics>,
    pub digests: Answer<Digests>,
    /// Whether it refuses a client that shows no token.
    pub needs_token: Answer<bool>,
}

/// What all of them say.
pub(super) struct Cluster {
    pub asked: Vec<Asked>,
    /// How one of them reaches the others.
    pub nodes: Answer<Nodes>,
    pub reconciliations: Answer<Reconciliations>,
}

impl Cluster {
    /// Asks the nodes at `--url`, and all members that they name.
    ///
    /// # Errors
    /// A file with a token or certificates cannot be used, or no node lets this token see its status.
    pub async fn ask(target: &Target) -> Result<Self> {
        let clients = |urls: Vec<String>| -> Result<Vec<(String, Client)>> {
            urls.into_iter().map(|url| Ok((url.clone(), client_of(target, &url)?))).collect()
        };
        let first = join_all(clients(target.url.clone())?.into_iter().map(ask_node)).await;
        if first.iter().all(Result::is_err) {
            let forbidden = |error: &ClientError| matches!(error, ClientError::Problem(_));
            let errors = first.into_iter().filter_map(Result::err);
            let (refusals, silences): (Vec<_>, Vec<_>) = errors.partition(|(_, error)| forbidden(error));
            return match refusals.into_iter().next() {
                Some((_, refusal)) => Err(refusal.into()),
                None => Ok(Self::silent(silences)),
            };
        }
        let mut asked: Vec<Asked> = first.into_iter().map(Asked::from).collect();
        let others = not_asked(&asked, &target.url);
        let (safe, unsafe_urls): (Vec<String>, Vec<String>) =
            others.into_iter().partition(|url| is_as_safe(&target.url, url));
        asked.extend(join_all(clients(safe)?.into_iter().map(ask_node)).await.into_iter().map(Asked::from));
        let unasked = |url| Asked { url, answer: Err("it is not asked: its URL is not encrypted".into()) };
        asked.extend(unsafe_urls.into_iter().map(unasked));
        drop_repeated(&mut asked);
        // The member that leads has met all others.
        let best = best(&asked).map_or_else(|| target.url[0].clone(), str::to_owned);
        let client = client_of(target, &best)?;
        let (nodes, reconciliations) = tokio::join!(client.nodes(), client.reconciliations());
        let (nodes, reconciliations) = (nodes.map_err(said), reconciliations.map_err(said));
        Ok(Self { asked, nodes, reconciliations })
    }

    fn silent(errors: Vec<(String, ClientError)>) -> Self {
        let asked = errors.into_iter().map(|(url, error)| Asked { url, answer: Err(said(error)) });
        let nobody = "no node answers";
        Self { asked: asked.collect(), nodes: Err(nobody.into()), reconciliations: Err(nobody.into()) }
    }

    /// Those that answer.
    pub fn answers(&self) -> impl Iterator<Item = &NodeAnswers> {
        self.asked.iter().filter_map(|asked| asked.answer.as_ref().ok())
    }

    /// Those that answer and take part in the cluster: not those that have left it, or that it goes on without.
    pub fn parts(&self) -> impl Iterator<Item = &NodeAnswers> {
        self.answers().filter(|node| {
            let status = &node.status;
            status.detached.is_none() && status.superseded_by.is_none() && !status.removed
        })
    }

    /// Whether a member answers, or another member says that it does.
    pub fn is_up(&self, id: u64) -> bool {
        self.parts().any(|node| node.status.node.id == id) || self.is_reached(id)
    }

    /// Whether the other members reach this one.
    pub fn is_reached(&self, id: u64) -> bool {
        let nodes = self.nodes.as_ref().map_or(&[][..], |nodes| &nodes.nodes);
        nodes.iter().any(|node| node.id == id && node.report.is_some())
    }

    /// The members, as the node knows them that knows most.
    pub fn members(&self) -> &[MemberStatus] {
        let newest = self.parts().max_by_key(|node| (node.status.majority, node.status.applied_index));
        newest.map_or(&[], |node| &node.status.members)
    }
}

impl NodeAnswers {
    pub fn name(&self) -> &str {
        &self.status.node.name
    }
}

impl From<Result<NodeAnswers, (String, ClientError)>> for Asked {
    fn from(result: Result<NodeAnswers, (String, ClientError)>) -> Self {
        match result {
            Ok(node) => Self { url: node.url.clone(), answer: Ok(node) },
            Err((url, error)) => Self { url, answer: Err(said(error)) },
        }
    }
}

/// A client of one node, which also answers when it has left its cluster.
fn client_of(target: &Target, url: &str) -> Result<Client> {
    Ok(target.client_of(&[url.to_owned()], target.timeout())?.allowing_detached(true))
}

async fn ask_node((url, client): (String, Client)) -> Result<NodeAnswers, (String, ClientError)> {
    let status = match client.status().await {
        Ok(status) => status,
        Err(error) => return Err((url, error)),
    };
    let (is_ready, metrics, digests, needs_token) =
        tokio::join!(client.ready(), client.metrics(), client.digests(), client.own_token());
    let needs_token = match needs_token {
        Ok(_) => Ok(true),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(false),
        Err(error) => Err(said(error)),
    };
    let (metrics, digests) = (metrics.map(Metrics::new).map_err(said), digests.map_err(said));
    Ok(NodeAnswers { url, status, is_ready, metrics, digests, needs_token })
}

/// A node may have been asked at several URLs.
fn drop_repeated(asked: &mut Vec<Asked>) {
    let mut seen = BTreeSet::new();
    asked.retain(|asked| match &asked.answer {
        Ok(node) => seen.insert((node.status.history.id.clone(), node.status.node.id)),
        Err(_) => true,
    });
}

/// The URLs of members that have not been asked: none of those that were asked is them.
fn not_asked(asked: &[Asked], urls: &[String]) -> Vec<String> {
    let answers = || asked.iter().filter_map(|asked| asked.answer.as_ref().ok());
    let mut others: Vec<String> = Vec::new();
    for member in answers().flat_map(|node| &node.status.members) {
        let url = member.http.trim_end_matches('/');
        let met = answers().any(|node| node.status.node.id == member.id);
        let known = urls.iter().chain(&others).any(|known| known.trim_end_matches('/') == url);
        if !met && !known && !url.is_empty() {
            others.push(url.to_owned());
        }
    }
    others
}

/// What is encrypted for the nodes that an operator names is not sent to others as it is.
fn is_as_safe(urls: &[String], url: &str) -> bool {
    url.starts_with("https://") || !urls.iter().any(|named| named.starts_with("https://"))
}

/// The URL of the node to ask about all others.
fn best(asked: &[Asked]) -> Option<&str> {
    let answers = asked.iter().filter_map(|asked| asked.answer.as_ref().ok());
    let best = answers.max_by_key(|node| {
        let status = &node.status;
        (status.detached.is_none(), status.majority, status.role == "leader")
    });
    best.map(|node| node.url.as_str())
}

/// Why there is no answer, for people.
fn said(error: ClientError) -> String {
    match error.code() {
        ErrorCode::Unauthorized | ErrorCode::Forbidden => "not permitted with this token".into(),
        _ => error.to_string(),
    }
}
