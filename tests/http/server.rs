//! A node and its HTTP server, in this process.

use lockstep::front::{Front, FrontLimits};
use lockstep::http::{AppState, CompatSettings, HttpLimits, HttpServer, HttpSettings};
use lockstep::node::{Node, NodeOptions, Opened};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::Value;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// One node with its server; stop it at the end of the test.
pub struct Server {
    pub url: String,
    pub address: String,
    pub client: Client,
    pub node: Node,
    http: HttpServer,
    _dir: TempDir,
}

/// Limits of a node's front doors.
#[derive(Default)]
pub struct Limits {
    pub front: FrontLimits,
    pub http: HttpLimits,
}

/// Short limits, so that tests of them are quick.
pub fn limits() -> Limits {
    let http = HttpLimits {
        head_timeout: Duration::from_millis(300),
        body_pause_timeout: Duration::from_millis(300),
        batch_bytes: 10_000,
        ..HttpLimits::default()
    };
    Limits { front: FrontLimits { value_bytes: 1_000, ..FrontLimits::default() }, http }
}

/// These settings of the `/api` routes, and hosts that the node answers to.
pub fn settings(compat: CompatSettings, hosts: &[&str]) -> HttpSettings {
    let allowed_hosts = hosts.iter().map(|&host| host.to_owned()).collect();
    HttpSettings { compat, allowed_hosts, ..HttpSettings::default() }
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(limits(), |options| options).await
    }

    pub async fn start_with(limits: Limits, change: impl FnOnce(NodeOptions) -> NodeOptions) -> Self {
        Self::start_for(limits, HttpSettings::default(), change).await
    }

    pub async fn start_for(
        limits: Limits,
        settings: HttpSettings,
        change: impl FnOnce(NodeOptions) -> NodeOptions,
    ) -> Self {
        Self::start_as(limits, settings, lockstep::client::plain_http(), change).await
    }

    /// With a client that is made of `builder`.
    pub async fn start_as(
        limits: Limits,
        settings: HttpSettings,
        builder: reqwest::ClientBuilder,
        change: impl FnOnce(NodeOptions) -> NodeOptions,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let options = change(NodeOptions::alone(dir.path()));
        let opened = Opened::open(options).await.unwrap();
        let front = Front::new(opened.bootstrap(), limits.front);
        let settings = HttpSettings { limits: limits.http, ..settings };
        let scheme = if settings.tls.is_some() { "https" } else { "http" };
        let http = HttpServer::start(listener, AppState::new(front.clone(), settings));
        let url = format!("{scheme}://{address}");
        // An idle connection is closed soon here, perhaps just when it would be used again.
        let client = builder.pool_max_idle_per_host(0).timeout(Duration::from_secs(20));
        let client = client.build().unwrap();
        // Before the node has its place, everything but the probes is told to come back.
        let early = client.get(format!("{url}/v1/kv/k")).send().await.unwrap();
        assert_eq!(early.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(client.get(format!("{url}/livez")).send().await.unwrap().status(), StatusCode::OK);
        let node = opened.start().await.unwrap();
        front.open(node.clone());
        let begun = Instant::now();
        while node.ready().await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "never ready");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self { url, address, client, node, http, _dir: dir }
    }

    /// A client that connects from this address, of those that lead to this machine.
    pub fn client_from(&self, address: [u8; 4]) -> Client {
        lockstep::client::plain_http().local_address(Some(address.into())).build().unwrap()
    }

    pub async fn stop(self) {
        self.http.stop().await;
        self.node.stop().await;
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Response {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).body(body.into());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    pub async fn put(&self, key: &str, value: &str) -> Response {
        self.send(Method::PUT, &format!("/v1/kv/{key}"), &[], value).await
    }

    /// Returns once a key with a deadline has expired.
    pub async fn until_absent(&self, key: &str) {
        while self.get(&format!("/v1/kv/{key}")).await.status() == 200 {
            tokio::task::yield_now().await;
        }
    }

    pub async fn configure(&self, settings: Value) {
        let done = self.send(Method::PUT, "/v1/config", &[], settings.to_string()).await;
        assert_eq!(done.status(), StatusCode::OK, "{settings}");
    }

    pub async fn get(&self, path: &str) -> Response {
        self.send(Method::GET, path, &[], "").await
    }

    /// Sends and expects a problem of this code; returns it.
    pub async fn refused(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
        code: &str,
    ) -> Value {
        let response = self.send(method.clone(), path, headers, body).await;
        let status = response.status().as_u16();
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{method} {path}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["code"], code, "{method} {path}: {problem}");
        assert_eq!(problem["status"], status, "{method} {path}");
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        problem
    }
}
