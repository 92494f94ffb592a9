//! Requests of a node that has no cluster yet: introductions of other nodes, and joining their cluster.

use super::bounded::{SMALL_BYTES_MAX, read_up_to};
use super::builder::{http_builder, tls_for};
use super::http::TRY_TIMEOUT;
use super::token::ClientToken;
use crate::api::{AddMember, ErrorCode, Joined, NodeInfo, Problem};
use crate::tls::ClientTls;
use futures::future::join_all;
use reqwest::{StatusCode, Url, header};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::lookup_host;

const INTRODUCTION_TIMEOUT: Duration = Duration::from_secs(2);
const JOIN_TIMEOUT: Duration = Duration::from_secs(20);
const JOIN_RETRY: Duration = Duration::from_millis(200);
/// How long a conflict is retried: another node's membership change passes, a name that is taken stays.
const CONFLICT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a token that is refused is shown again: a cluster takes its first one within a second or two of its start.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(5);

fn client(urls: &[String], limit: Duration, tls: &ClientTls) -> Result<reqwest::Client, String> {
    http_builder(tls_for(urls, tls)?).timeout(limit).build().map_err(|error| error.to_string())
}

/// Asks for the introduction of the node at each URL. The answers are in the order of the URLs.
pub async fn node_infos(urls: &[String], tls: &ClientTls) -> Vec<Result<NodeInfo, String>> {
    let client = match client(urls, INTRODUCTION_TIMEOUT, tls) {
        Ok(client) => client,
        Err(error) => return urls.iter().map(|_| Err(error.clone())).collect(),
    };
    join_all(urls.iter().map(|url| node_info(&client, url))).await
}

async fn node_info(client: &reqwest::Client, url: &str) -> Result<NodeInfo, String> {
    let url = format!("{}/v1/introduction", url.trim_end_matches('/'));
    let mut response = client.get(&url).send().await.map_err(|error| short(&error))?;
    if response.status() == StatusCode::MISDIRECTED_REQUEST {
        // A node does not know every name by which a list calls it. It answers to its address.
        for url in by_address(&url).await {
            if let Ok(answer) = client.get(url).send().await {
                response = answer;
                break;
            }
        }
    }
    if response.status() == StatusCode::NOT_FOUND && is_old_node(client, &url).await {
        return Err("is a node of the original Node.js cache server, which cannot be a member: take it out of the list, \
                    and have it connect to this cluster by its own PEER_NODES"
            .into());
    }
    if !response.status().is_success() {
        return Err(format!("answered {}", response.status()));
    }
    let body = read_up_to(response, SMALL_BYTES_MAX, TRY_TIMEOUT).await.ok();
    body.and_then(|body| serde_json::from_slice(&body).ok()).ok_or_else(|| "is no Lockstep node".to_owned())
}

/// Whether a node of the original Node.js cache server listens there: it has an id, and no cluster.
async fn is_old_node(client: &reqwest::Client, url: &str) -> bool {
    let Ok(health) = Url::parse(url).and_then(|url| url.join("/health")) else { return false };
    let Ok(response) = client.get(health).send().await else { return false };
    let Ok(body) = read_up_to(response, SMALL_BYTES_MAX, TRY_TIMEOUT).await else { return false };
    let health: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    health.is_some_and(|health| health["nodeId"].is_string() && health["status"].is_string())
}

/// The same URL with each of the addresses that its host has.
async fn by_address(url: &str) -> Vec<Url> {
    let Ok(url) = Url::parse(url) else { return Vec::new() };
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return Vec::new() };
    let found = lookup_host((host, port)).await.into_iter().flatten();
    let at = |address: SocketAddr| {
        let mut url = url.clone();
        url.set_ip_host(address.ip()).ok().map(|()| url)
    };
    found.filter_map(at).collect()
}

/// Asks a cluster to add a node, and retries while the cluster is starting, changing or without a leader. Asking twice for
/// one data folder gives the same answer. With `patient` it waits without a time limit for a cluster that does not answer, or
/// cannot carry it out as it is.
///
/// # Errors
/// A sentence.
pub async fn join(
    url: &str,
    request: &AddMember,
    token: Option<&ClientToken>,
    tls: &ClientTls,
    patient: bool,
) -> Result<Joined, String> {
    let client = client(&[url.to_owned()], JOIN_TIMEOUT, tls)?;
    let url = join_url(url, token);
    let started = Instant::now();
    let mut logged = String::new();
    loop {
        let Refused { reason, limit, .. } = match try_join(&client, &url, request, token).await {
            Ok(joined) => return Ok(joined),
            Err(refused) => refused,
        };
        let waits = patient && can_wait(limit);
        if !waits && started.elapsed() + JOIN_RETRY >= limit {
            return Err(reason);
        }
        let conflicts = limit == CONFLICT_TIMEOUT;
        if reason != logged {
            tracing::info!("cannot join yet: {reason}");
            logged = reason;
        }
        // What a person has to change first is not asked for all the time.
        tokio::time::sleep(if waits && conflicts { request.pause_at_conflict() } else { JOIN_RETRY }).await;
    }
}

/// Why a cluster has not added a node.
pub struct NotJoined {
    pub reason: String,
    /// Whether it makes sense to ask again later: another node may answer, or an operator change something.
    pub can_wait: bool,
    /// Whether a member answered that the cluster cannot do it as it is. Each such answer to a node that waits for a time
    /// has left a note in the audit log.
    pub conflicts: bool,
}

/// Asks a cluster once to add a node; see [`join`].
///
/// # Errors
/// [`NotJoined`].
pub async fn join_once(
    url: &str,
    request: &AddMember,
    token: Option<&ClientToken>,
    tls: &ClientTls,
) -> Result<Joined, NotJoined> {
    let client = client(&[url.to_owned()], JOIN_TIMEOUT, tls);
    let client = client.map_err(|reason| NotJoined { reason, can_wait: false, conflicts: false })?;
    let joined = try_join(&client, &join_url(url, token), request, token).await;
    joined.map_err(|refused| NotJoined {
        can_wait: can_wait(refused.limit) || refused.is_of_one_node,
        conflicts: refused.limit == CONFLICT_TIMEOUT,
        reason: refused.reason,
    })
}

/// Why a node has not added another.
struct Refused {
    reason: String,
    /// For how long it makes sense to ask the same node again.
    limit: Duration,
    /// Whether another member may answer otherwise: this one was given up, does not know its own name, or not yet the token.
    is_of_one_node: bool,
}

/// Whether more than time can change the answer.
fn can_wait(limit: Duration) -> bool {
    !limit.is_zero() && limit != TOKEN_TIMEOUT
}

/// Where a node at this URL takes a request to join with this token.
fn join_url(url: &str, token: Option<&ClientToken>) -> String {
    let path = if token.is_some_and(ClientToken::is_for_joining) { "/v1/join" } else { "/v1/members" };
    format!("{}{path}", url.trim_end_matches('/'))
}

/// Asks once.
async fn try_join(
    client: &reqwest::Client,
    url: &str,
    request: &AddMember,
    token: Option<&ClientToken>,
) -> Result<Joined, Refused> {
    let refused = |reason, limit| Refused { reason, limit, is_of_one_node: false };
    let unreachable = |error| refused(format!("{url}: {}", short(&error)), JOIN_TIMEOUT);
    let mut asking = client.post(url).json(request);
    if let Some(token) = token {
        asking = asking.header(header::AUTHORIZATION, token.header());
    }
    let response = asking.send().await.map_err(unreachable)?;
    let status = response.status();
    let body = read_up_to(response, SMALL_BYTES_MAX, TRY_TIMEOUT).await.unwrap_or_default();
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| refused(error.to_string(), Duration::ZERO));
    }
    let Ok(problem) = serde_json::from_slice::<Problem>(&body) else {
        return Err(refused(format!("{url} answered {status}"), Duration::ZERO));
    };
    let limit = match problem.code {
        ErrorCode::Conflict => CONFLICT_TIMEOUT,
        ErrorCode::Unauthorized => TOKEN_TIMEOUT,
        code if code.retry_is_safe(true) => JOIN_TIMEOUT,
        _ => Duration::ZERO,
    };
    // Each time would be another look at the cluster for a token that stays what it is.
    let is_for_joining = token.is_some_and(ClientToken::is_for_joining);
    let limit = if is_for_joining && limit == TOKEN_TIMEOUT { Duration::ZERO } else { limit };
    let reason = match (problem.code, token) {
        (ErrorCode::Unauthorized, None) => {
            format!("{}: see --token-file and --join-token-file", problem.detail)
        }
        _ => problem.detail,
    };
    let of_one_node = [ErrorCode::Superseded, ErrorCode::Misdirected, ErrorCode::Unauthorized];
    Err(Refused { reason, limit, is_of_one_node: of_one_node.contains(&problem.code) })
}

/// The innermost cause, without the URL, which the caller names.
pub(super) fn short(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_node_that_does_not_know_its_name_is_asked_by_its_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let node = tokio::spawn(async move {
            let mut hosts = Vec::new();
            while hosts.len() < 2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = vec![0; 4_096];
                let length = stream.read(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..length]).to_lowercase();
                let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned();
                let body = r#"{"name":"n1","http":"h","peer":"p","store_uuid":"u","list":null,"founding":null,"cluster_id":null}"#;
                let (status, body) = if host.starts_with("localhost") { (421, "{}") } else { (200, body) };
                let answer = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
                hosts.push(host);
            }
            hosts
        });
        let met = node_infos(&[format!("http://localhost:{port}/")], &ClientTls::default())
            .await
            .remove(0)
            .unwrap();
        assert_eq!(met.store_uuid, "u");
        assert_eq!(node.await.unwrap(), [format!("localhost:{port}"), format!("127.0.0.1:{port}")]);
    }
}
