//! The certificates of `lockstep serve`: which files, and reading them again.

use super::exit::Usage;
use crate::tls::{CertFiles, Certificates, ClientTls, Joining, PeerTls, RELOAD_INTERVAL, ServerTls};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::signal::unix::Signal;
use tokio::time::sleep;

/// How many days before a certificate expires that is logged.
const WARNED_DAYS: [i64; 3] = [30, 7, 1];

/// The certificates of a node.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeTlsArgs {
    /// This node's certificate: clients then connect by HTTPS. With --tls-ca, peers connect by TLS as well
    #[arg(long, env = "LOCKSTEP_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its key, which others cannot read
    #[arg(long, env = "LOCKSTEP_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The authorities that sign the certificates of nodes and clients
    #[arg(long, env = "LOCKSTEP_TLS_CA", value_name = "FILE", requires = "tls_cert")]
    pub tls_ca: Option<PathBuf>,
    /// The key of one of these authorities: this node then signs certificates for nodes that have a join token
    #[arg(
        long,
        env = "LOCKSTEP_CA_KEY",
        value_name = "FILE",
        requires = "tls_ca",
        conflicts_with = "peer_cert"
    )]
    pub ca_key: Option<PathBuf>,
    /// Another certificate for peers, which names this node (`lockstep cert node`)
    #[arg(long, env = "LOCKSTEP_PEER_CERT", value_name = "FILE", requires_all = ["peer_key", "peer_ca"])]
    pub peer_cert: Option<PathBuf>,
    /// Its key, which others cannot read
    #[arg(long, env = "LOCKSTEP_PEER_KEY", value_name = "FILE", requires = "peer_cert")]
    pub peer_key: Option<PathBuf>,
    /// The authorities that sign the certificates of peers
    #[arg(long, env = "LOCKSTEP_PEER_CA", value_name = "FILE", requires = "peer_cert")]
    pub peer_ca: Option<PathBuf>,
}

/// What the files hold.
pub(super) struct NodeTls {
    pub clients: Option<ServerTls>,
    pub peers: Option<PeerTls>,
    /// How the node calls others.
    pub calls: ClientTls,
    /// What this node does for others that have no certificate yet.
    pub joining: Option<Joining>,
    /// Whether nodes can show clients' ports who they are.
    pub knows_nodes: bool,
    pub certificates: Certificates,
}

impl ServeTlsArgs {
    fn client_port(&self) -> Option<CertFiles> {
        let (cert, key) = self.tls_cert.clone().zip(self.tls_key.clone())?;
        Some(CertFiles { cert, key, ca: self.tls_ca.clone() })
    }

    fn peer_port(&self) -> Option<CertFiles> {
        let own = self.peer_cert.clone().zip(self.peer_key.clone());
        match own {
            Some((cert, key)) => Some(CertFiles { cert, key, ca: self.peer_ca.clone() }),
            None => self.client_port().filter(|files| files.ca.is_some()),
        }
    }

    /// Whether clients connect by HTTPS.
    pub fn covers_clients(&self) -> bool {
        self.client_port().is_some()
    }

    /// Whether peers connect by TLS.
    pub fn covers_peers(&self) -> bool {
        self.peer_port().is_some()
    }

    /// Reads the files.
    pub(super) fn open(&self) -> Result<NodeTls> {
        let clients = self.client_port().map(ServerTls::open).transpose();
        let clients = clients.map_err(|reason| Usage(format!("--tls-cert: {reason}")))?;
        let peer_flag = if self.peer_cert.is_some() { "--peer-cert" } else { "--tls-cert" };
        let peers = self.peer_port().map(PeerTls::open).transpose();
        let peers = peers.map_err(|reason| Usage(format!("{peer_flag}: {reason}")))?;
        let mut certificates = Certificates::default();
        clients.iter().for_each(|tls| certificates.add("clients", tls.clone()));
        peers.iter().for_each(|tls| certificates.add("peers", tls.clone()));
        let own = self.peer_port().or_else(|| self.client_port()).map(|files| (files.cert, files.key));
        let joining = self.client_port().map(|files| Joining::open(&files, self.ca_key.clone())).transpose();
        let joining = joining.map_err(|reason| Usage(format!("--ca-key: {reason}")))?.flatten();
        let knows_nodes = clients.is_some() && self.tls_ca.is_some();
        Ok(NodeTls {
            clients,
            peers,
            calls: ClientTls { ca: self.tls_ca.clone(), own },
            joining,
            knows_nodes,
            certificates,
        })
    }
}

/// Reads the files again on each hang-up signal, and every ten seconds. Logs what has changed, what cannot be used, and what
/// expires soon.
pub(super) async fn keep_current(certificates: Certificates, mut hang_up: Signal) {
    let mut logged = Vec::new();
    let mut stages: Vec<usize> = certificates.expiries().map(|_| 0).collect();
    loop {
        for ((port, at), stage) in certificates.expiries().zip(&mut stages) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
            let days = at.saturating_sub(i64::try_from(now).unwrap_or(i64::MAX)).div_euclid(24 * 3600);
            let reached = WARNED_DAYS.iter().filter(|limit| days < **limit).count();
            if reached > *stage {
                tracing::warn!(
                    port,
                    days,
                    "a certificate expires soon, or has expired: connections that are open stay, new ones will fail"
                );
            }
            *stage = reached;
        }
        let asked = tokio::select! {
            asked = hang_up.recv() => asked.is_some(),
            () = sleep(RELOAD_INTERVAL) => false,
        };
        let again = certificates.clone();
        let Ok(found) = tokio::task::spawn_blocking(move || again.reload()).await else { continue };
        for (port, result) in &found {
            match result {
                Ok(true) => tracing::info!(port, "new certificates: connections use them from now on"),
                Ok(false) if asked => tracing::info!(port, "the certificates are the same as before"),
                Err(error) if asked || !logged.contains(&(*port, Err(error.clone()))) => {
                    tracing::warn!(port, error, "the certificates cannot be used: those before stay");
                }
                _ => {}
            }
        }
        logged = found;
    }
}
