//! A node and its server, in this process.

use super::client::Client;
use lockstep::front::{Front, FrontLimits};
use lockstep::node::{Node, NodeOptions, Opened};
use lockstep::resp::{RespPort, RespServer};
use lockstep::tls::ServerTls;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpListener;

pub struct Server {
    pub address: SocketAddr,
    /// Its Sentinel port.
    pub sentinel: SocketAddr,
    pub node: Node,
    pub resp: RespServer,
    _dir: TempDir,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(FrontLimits { value_bytes: 10_000, ..FrontLimits::default() }, None, |options| {
            options
        })
        .await
    }

    pub async fn start_with(
        limits: FrontLimits,
        tls: Option<ServerTls>,
        change: impl FnOnce(NodeOptions) -> NodeOptions,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sentinel_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sentinel = sentinel_listener.local_addr().unwrap();
        let opened = Opened::open(change(NodeOptions::alone(dir.path()))).await.unwrap();
        let front = Front::new(opened.bootstrap(), limits);
        let is_plain = tls.is_none();
        let as_sentinel = RespPort { listener: sentinel_listener, tls: None, master: Some(address.port()) };
        let resp =
            RespServer::start(vec![RespPort { listener, tls, master: None }, as_sentinel], &front, None);
        if is_plain {
            // Before the node has its place, whoever wants something is told to come back, and others may say who they are.
            let early = tokio::task::spawn_blocking(move || {
                let mut client = Client::connect(address);
                let told = [client.ask("CLIENT SETNAME early"), client.ask("INFO"), client.ask("GET a")];
                (told, client.next())
            });
            let (told, after) = early.await.unwrap();
            assert_eq!(told[0], "+OK");
            assert!(told[1].contains("loading:1") && told[2].starts_with("-LOADING "), "{told:?}");
            assert_eq!(after, None);
        }
        let node = opened.start().await.unwrap();
        front.open(node.clone());
        let begun = Instant::now();
        while node.ready().await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "never ready");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self { address, sentinel, node, resp, _dir: dir }
    }

    /// Runs this with the server, and stops it.
    pub async fn run(test: impl FnOnce(SocketAddr) + Send + 'static) {
        Self::start().await.run_and_stop(test).await;
    }

    pub async fn run_and_stop(self, test: impl FnOnce(SocketAddr) + Send + 'static) {
        let address = self.address;
        tokio::task::spawn_blocking(move || test(address)).await.unwrap();
        self.resp.stop().await;
        self.node.stop().await;
    }
}
