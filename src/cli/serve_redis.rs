//! The ports of `lockstep serve` for Redis clients.

use crate::api::RedisAddresses;
use crate::front::Front;
use crate::jwt::JwtVerifier;
use crate::resp::{RespPort, RespServer};
use crate::tls::ServerTls;
use anyhow::{Context, Result};
use clap::Args;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Where Redis clients connect to.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeRedisArgs {
    /// Speak the Redis protocol at this address, without encryption
    #[arg(long, env = "LOCKSTEP_REDIS", value_name = "HOST:PORT")]
    pub redis: Option<String>,
    /// Speak the Redis protocol over TLS at this address
    #[arg(long, env = "LOCKSTEP_REDIS_TLS", value_name = "HOST:PORT", requires = "tls_cert")]
    pub redis_tls: Option<String>,
    /// Answer at this address, as a Redis Sentinel would, that this node is the master: its --redis port
    #[arg(long, env = "LOCKSTEP_REDIS_SENTINEL", value_name = "HOST:PORT", requires = "redis")]
    pub redis_sentinel: Option<String>,
}

/// The listeners, which outlive the server of a node that is opened again.
pub(super) struct RedisPorts(Vec<Port>);

struct Port {
    listener: std::net::TcpListener,
    tls: Option<ServerTls>,
    /// Of a Sentinel port: the port that it names.
    master: Option<u16>,
}

impl ServeRedisArgs {
    /// Starts to listen.
    pub(super) async fn listen(&self, tls: Option<&ServerTls>) -> Result<RedisPorts> {
        let mut ports = Vec::new();
        let wanted = [(&self.redis, None, "redis"), (&self.redis_tls, tls, "rediss")];
        for (address, tls, scheme) in wanted {
            let Some(address) = address else { continue };
            let listener = TcpListener::bind(address).await;
            let listener =
                listener.with_context(|| format!("cannot listen for Redis clients on {address}"))?;
            tracing::info!(
                url = format!("{scheme}://{}", listener.local_addr()?),
                "listening for Redis clients"
            );
            ports.push(Port { listener: listener.into_std()?, tls: tls.cloned(), master: None });
        }
        if let (Some(address), Some(plain)) = (&self.redis_sentinel, ports.first()) {
            let master = Some(plain.listener.local_addr()?.port());
            let listener = TcpListener::bind(address).await;
            let listener = listener.with_context(|| format!("cannot listen as a Sentinel on {address}"))?;
            tracing::info!(address = %listener.local_addr()?, "listening as a Redis Sentinel");
            ports.push(Port { listener: listener.into_std()?, tls: None, master });
        }
        Ok(RedisPorts(ports))
    }

    /// All addresses with what their protection lacks, if they can be reached from other machines.
    pub fn addresses(&self, has_tokens: bool) -> Vec<(&'static str, &str, Option<&'static str>)> {
        let plain = if has_tokens { "--redis-tls instead" } else { "--redis-tls instead, and --tokens" };
        let encrypted = (!has_tokens).then_some("--tokens");
        let plain = self.redis.as_deref().map(|address| ("--redis", address, Some(plain)));
        let sentinel = self.redis_sentinel.as_deref().map(|address| ("--redis-sentinel", address, None));
        let encrypted = self.redis_tls.as_deref().map(|address| ("--redis-tls", address, encrypted));
        plain.into_iter().chain(encrypted).chain(sentinel).collect()
    }
}

impl RedisPorts {
    /// Where clients reach these ports: at the hosts that were given, or, for an address that stands for all, at `host`.
    pub fn advertised(&self, args: &ServeRedisArgs, host: Option<&str>) -> RedisAddresses {
        let port_of = |is_encrypted: bool| {
            let of_clients = self.0.iter().filter(|port| port.master.is_none());
            let port = of_clients.clone().find(|port| port.tls.is_some() == is_encrypted)?;
            Some(port.listener.local_addr().ok()?.port())
        };
        let address = |given: Option<&String>, is_encrypted| {
            let (given, _) = given?.rsplit_once(':')?;
            let ip = given.trim_matches(['[', ']']).parse::<IpAddr>();
            let host = if ip.is_ok_and(|ip| ip.is_unspecified()) { host? } else { given };
            Some(format!("{host}:{}", port_of(is_encrypted)?))
        };
        RedisAddresses {
            plain: address(args.redis.as_ref(), false),
            tls: address(args.redis_tls.as_ref(), true),
        }
    }

    /// Starts to serve.
    pub fn serve(&self, front: &Arc<Front>, jwt: Option<&JwtVerifier>) -> Result<RespServer> {
        let port = |Port { listener, tls, master }: &Port| {
            let listener =
                TcpListener::from_std(listener.try_clone().context("cannot serve Redis clients")?)?;
            Ok(RespPort { listener, tls: tls.clone(), master: *master })
        };
        let ports = self.0.iter().map(port).collect::<Result<Vec<RespPort>>>()?;
        Ok(RespServer::start(ports, front, jwt))
    }
}
