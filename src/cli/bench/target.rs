//! Which servers take the load, and which protocol they speak.

use super::super::common_args::Target;
use super::super::exit::Usage;
use super::args::{BenchArgs, To};
use super::redis_requests::{RedisRequest, greeting};
use crate::client::{Client, ClientError, ClientToken};
use crate::tls::ClientTls;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A server that takes load.
#[derive(Debug, Clone)]
pub struct Server {
    pub url: String,
    pub addresses: Vec<SocketAddr>,
    pub protocol: Protocol,
    /// For a server that speaks TLS.
    pub tls: Option<Encryption>,
}

/// The protocol of a server, and what all requests of a connection have in common.
#[derive(Debug, Clone)]
pub enum Protocol {
    Http {
        /// What follows the path of a request.
        after_path: Bytes,
    },
    Redis {
        /// What a connection begins with.
        greeting: Option<RedisRequest>,
    },
}

/// Whom a connection believes, and what its server must be called.
#[derive(Debug, Clone)]
pub struct Encryption {
    pub config: Arc<ClientConfig>,
    pub host: ServerName<'static>,
}

impl Server {
    /// A server that speaks HTTP.
    async fn at_url(url: &str, token: Option<&ClientToken>, tls: &ClientTls) -> Result<Self> {
        let expected = "http://host:port or https://host:port";
        let Address { host, port, is_encrypted } = Address::parse(url, ["http", "https"], 80, expected)?;
        let mut after_path = format!(" HTTP/1.1\r\nHost: {host}:{port}\r\n").into_bytes();
        if let Some(token) = token {
            after_path.extend_from_slice(b"Authorization: ");
            after_path.extend_from_slice(token.header_bytes());
            after_path.extend_from_slice(b"\r\n");
        }
        let protocol = Protocol::Http { after_path: after_path.into() };
        Self::new(url, Address { host, port, is_encrypted }, protocol, tls).await
    }

    /// A server that speaks the Redis protocol.
    async fn of_redis(server: &str, greeting: Option<RedisRequest>, tls: &ClientTls) -> Result<Self> {
        let url = if server.contains("://") { server.to_owned() } else { format!("redis://{server}") };
        let expected = "host:port, redis://host:port or rediss://host:port";
        let address = Address::parse(&url, ["redis", "rediss"], 6379, expected)?;
        Self::new(&url, address, Protocol::Redis { greeting }, tls).await
    }

    async fn new(url: &str, address: Address, protocol: Protocol, tls: &ClientTls) -> Result<Self> {
        let Address { host, port, is_encrypted } = address;
        let tls = match is_encrypted {
            true => {
                let name = host.trim_matches(['[', ']']).to_owned();
                let host = ServerName::try_from(name).map_err(|error| Usage(format!("{url}: {error}")))?;
                Some(Encryption { config: Arc::new(tls.config().map_err(Usage)?), host })
            }
            false => None,
        };
        let addresses = tokio::net::lookup_host(format!("{host}:{port}")).await;
        let addresses = addresses.with_context(|| format!("{url}: no such host"))?.collect();
        Ok(Self { url: url.trim_end_matches('/').to_owned(), addresses, protocol, tls })
    }
}

/// What a URL says.
struct Address {
    host: String,
    port: u16,
    is_encrypted: bool,
}

impl Address {
    /// `schemes`: the plain one and the one with TLS.
    fn parse(url: &str, schemes: [&str; 2], default_port: u16, expected: &str) -> Result<Self, Usage> {
        let wrong = || Usage(format!("{url}: expected {expected}"));
        let parsed = reqwest::Url::parse(url).map_err(|_| wrong())?;
        // A path before ours, a query or a name of a user would be left out silently.
        let is_plain = matches!(parsed.path(), "" | "/")
            && parsed.query().is_none()
            && parsed.fragment().is_none()
            && parsed.username().is_empty()
            && parsed.password().is_none();
        let Some(host) = parsed.host_str().filter(|host| is_plain && !host.is_empty()) else {
            return Err(wrong());
        };
        let is_encrypted = match parsed.scheme() {
            scheme if scheme == schemes[0] => false,
            scheme if scheme == schemes[1] => true,
            _ => return Err(wrong()),
        };
        let port = parsed.port_or_known_default().unwrap_or(default_port);
        Ok(Self { host: host.to_owned(), port, is_encrypted })
    }
}

/// The servers that take the load.
pub async fn choose(args: &BenchArgs) -> Result<Vec<Server>> {
    let BenchArgs { target, to, redis, .. } = args;
    if redis.is_empty() {
        return of_urls(target, *to).await;
    }
    let (token, tls) = (target.token()?, target.tls.files());
    let token = token.as_ref().and_then(|token| token.header_bytes().strip_prefix(b"Bearer "));
    let token = token.and_then(|token| std::str::from_utf8(token).ok());
    let greeting = greeting(token, args.consistency);
    let mut servers = Vec::new();
    for server in redis {
        servers.push(Server::of_redis(server, greeting.clone(), &tls).await?);
        if *to == To::Server {
            break;
        }
    }
    Ok(servers)
}

/// The servers behind those of the URLs that are meant.
async fn of_urls(target: &Target, to: To) -> Result<Vec<Server>> {
    let (token, limit, tls) = (target.token()?, target.timeout(), target.tls.files());
    let mut servers = Vec::new();
    for url in &target.url {
        servers.push(Server::at_url(url, token.as_ref(), &tls).await?);
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
        let status = status(&server, token.clone(), limit, &tls).await?;
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
    token: Option<ClientToken>,
    limit: Duration,
    tls: &ClientTls,
) -> Result<crate::api::Status, ClientError> {
    let urls = [server.url.clone()];
    let client = Client::with_tls(&urls, limit, tls).expect("it was parsed before");
    client.with_token(token).status().await
}
