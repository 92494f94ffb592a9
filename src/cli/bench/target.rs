//! Which servers take the load.

use super::super::common_args::Target;
use super::super::exit::Usage;
use super::args::To;
use crate::client::{Client, ClientError, ClientToken};
use crate::tls::ClientTls;
use anyhow::{Context, Result, bail};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A server that takes load.
#[derive(Debug, Clone)]
pub struct Server {
    pub url: String,
    /// What requests name in `Host`.
    pub authority: String,
    pub addresses: Vec<SocketAddr>,
    /// What requests show.
    pub token: Option<ClientToken>,
    /// For a server that speaks HTTPS.
    pub tls: Option<Encryption>,
}

/// Whom a connection believes, and what its server must be called.
#[derive(Debug, Clone)]
pub struct Encryption {
    pub config: Arc<ClientConfig>,
    pub host: ServerName<'static>,
}

impl Server {
    async fn find(url: &str, token: Option<ClientToken>, tls: &ClientTls) -> Result<Self> {
        let wrong = || Usage(format!("{url}: expected http://host:port or https://host:port"));
        let parsed = reqwest::Url::parse(url).map_err(|_| wrong())?;
        // A path before ours, a query or a name of a user would be left out silently.
        let plain = parsed.path() == "/" && parsed.query().is_none() && parsed.username().is_empty();
        let Some(host) = parsed.host_str().filter(|_| matches!(parsed.scheme(), "http" | "https") && plain)
        else {
            return Err(wrong().into());
        };
        let authority = format!("{host}:{}", parsed.port_or_known_default().unwrap_or(80));
        let tls = match parsed.scheme() {
            "https" => {
                let name = host.trim_matches(['[', ']']).to_owned();
                let host = ServerName::try_from(name).map_err(|_| wrong())?;
                Some(Encryption { config: Arc::new(tls.config().map_err(Usage)?), host })
            }
            _ => None,
        };
        let addresses = tokio::net::lookup_host(&authority).await;
        let addresses = addresses.with_context(|| format!("{url}: no such host"))?.collect();
        Ok(Self { url: url.trim_end_matches('/').to_owned(), authority, addresses, token, tls })
    }
}

/// The servers behind those of the URLs that are meant.
pub async fn choose(target: &Target, to: To) -> Result<Vec<Server>> {
    let (token, limit, tls) = (target.token()?, target.timeout(), target.tls.files());
    let mut servers = Vec::new();
    for url in &target.url {
        servers.push(Server::find(url, token.clone(), &tls).await?);
    }
    if servers.is_empty() {
        return Err(Usage("no URL was given".into()).into());
    }
    match to {
        To::Any => return Ok(servers),
        To::Server => return Ok(vec![servers.swap_remove(0)]),
        To::Leader | To::Followers => {}
    }
    let mut chosen = Vec::new();
    let mut leaders = Vec::new();
    for server in servers {
        let status = status(&server, limit, &tls).await?;
        let leads = status.role == "leader";
        leaders.extend(status.leader.map(|leader| format!("{} at {}", leader.name, leader.http)));
        if leads == (to == To::Leader) {
            chosen.push(server);
        }
    }
    if chosen.is_empty() {
        let leader = leaders.pop().unwrap_or_else(|| "nobody".into());
        bail!("none of the URLs fits --to, because {leader} leads; name all nodes with --url");
    }
    Ok(chosen)
}

async fn status(
    server: &Server,
    limit: Duration,
    tls: &ClientTls,
) -> Result<crate::api::Status, ClientError> {
    let urls = [server.url.clone()];
    let client = Client::with_tls(&urls, limit, tls).expect("it was parsed before");
    client.with_token(server.token.clone()).status().await
}
