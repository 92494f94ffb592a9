//! A cluster that encrypts everything, with certificates that `lockstep cert` makes.

use super::{Cluster, Node, run, until};
use lockstep::client::{Client, ClientToken};
use lockstep::tls::ClientTls;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// A cluster with TLS and tokens, and where its files are.
pub struct Encrypted {
    pub cluster: Cluster,
    pub certs: PathBuf,
    pub root: PathBuf,
}

pub fn path(path: &Path) -> &str {
    path.to_str().expect("a path")
}

/// Runs a command that succeeds; returns what it prints.
pub fn done(arguments: &[&str]) -> String {
    let (code, text, error) = run(arguments);
    assert_eq!(code, 0, "{arguments:?}: {error}");
    text
}

pub fn https(tls: &ClientTls) -> reqwest::Client {
    https_builder(tls).build().expect("a client")
}

/// A client that is still to be built.
pub fn https_builder(tls: &ClientTls) -> reqwest::ClientBuilder {
    let config = tls.config().expect("good files");
    reqwest::Client::builder().no_proxy().timeout(LIMIT).tls_backend_preconfigured(config)
}

impl Encrypted {
    pub async fn start(count: usize) -> Self {
        Self::start_with(count, &[]).await
    }

    /// The same; `extra` goes to each node.
    pub async fn start_with(count: usize, extra: &[&str]) -> Self {
        let mut cluster = Cluster::empty().await;
        let dir = cluster.dir.path().to_owned();
        let (certs, root) = (dir.join("certs"), dir.join("root"));
        done(&["cert", "ca", "--dir", path(&certs)]);
        done(&["token", "generate", "--out", path(&root)]);
        let mut nodes: Vec<Node> = (1..=count).map(|i| Node::new(&dir, &format!("n{i}"), extra)).collect();
        for node in &mut nodes {
            node.http = node.http.replace("http://", "https://");
            done(&["cert", "node", &node.name, "--dir", path(&certs)]);
        }
        let list = nodes.iter().map(|node| node.http.clone()).collect::<Vec<_>>().join(",");
        let of = |node: &Node, kind: &str| certs.join(format!("{}.{kind}", node.name));
        let started = nodes.into_iter().map(|node| {
            let (cert, key, ca) = (of(&node, "crt"), of(&node, "key"), certs.join("ca.crt"));
            let mut node = node
                .with(&["--initial-cluster", &list, "--root-token-file", path(&root)])
                .with(&["--tls-cert", path(&cert), "--tls-key", path(&key), "--tls-ca", path(&ca)]);
            node.start();
            node
        });
        cluster.nodes = started.collect();
        cluster.http = https(&ClientTls { ca: Some(certs.join("ca.crt")), own: None });
        cluster.all_ready().await;
        let encrypted = Self { cluster, certs, root };
        let token = || async { encrypted.client().own_token().await.is_ok() };
        until("the first token is taken", token).await;
        encrypted
    }

    pub fn ca(&self) -> ClientTls {
        ClientTls { ca: Some(self.certs.join("ca.crt")), own: None }
    }

    pub fn urls(&self) -> Vec<String> {
        self.cluster.nodes.iter().map(|node| node.http.clone()).collect()
    }

    /// A client that may do everything.
    pub fn client(&self) -> Client {
        let token = ClientToken::of_file(&self.root).expect("a token");
        Client::with_tls(&self.urls(), LIMIT, &self.ca()).expect("good files").with_token(Some(token))
    }
}
