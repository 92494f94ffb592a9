//! TLS between nodes: both sides show a certificate, and each checks that it is the other's.

use super::certificate::Certificate;
use super::crypto::provider;
use super::files::{CertFiles, Material};
use super::names::node_host;
use super::watched::{Reload, Watched};
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// An encrypted connection to a peer.
pub type PeerStream = TlsStream<TcpStream>;

/// How nodes prove to each other who they are. Clones share it.
#[derive(Clone)]
pub struct PeerTls(Arc<Watched<Configs>>);

struct Configs {
    accepting: Arc<ServerConfig>,
    dialling: Arc<ClientConfig>,
    own: Certificate,
}

impl PeerTls {
    /// # Errors
    /// A sentence: the files cannot be used, or there is no authority to check other nodes by.
    pub fn open(files: CertFiles) -> Result<Self, String> {
        Ok(Self(Arc::new(Watched::open(files, configs)?)))
    }

    /// The owner of this node's certificate.
    pub fn own_certificate(&self) -> Certificate {
        self.0.get().own.clone()
    }

    /// Shakes hands with the node of this name.
    ///
    /// # Errors
    /// There is no connection: for example, it is another node.
    pub async fn dial(&self, stream: TcpStream, name: &str) -> io::Result<PeerStream> {
        let host = ServerName::try_from(node_host(name)).map_err(io::Error::other)?;
        let connector = TlsConnector::from(self.0.get().dialling.clone());
        Ok(TlsStream::Client(connector.connect(host, stream).await?))
    }

    /// Shakes hands with a node that dials. Also returns the owner of its certificate.
    ///
    /// # Errors
    /// There is no connection: for example, the caller is no node.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<(PeerStream, Certificate)> {
        let stream = TlsAcceptor::from(self.0.get().accepting.clone()).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let owner = shown.and_then(|der| Certificate::read(der).ok()).unwrap_or_default();
        if owner.nodes.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the certificate of the caller is of no node",
            ));
        }
        Ok((TlsStream::Server(stream), owner))
    }
}

impl std::fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PeerTls({:?})", self.0.get().own.nodes)
    }
}

impl Reload for PeerTls {
    fn reload(&self) -> Result<bool, String> {
        self.0.reload()
    }

    fn expires_at(&self) -> i64 {
        self.0.expires_at()
    }
}

fn configs(material: &Material) -> Result<Configs, String> {
    if material.authorities.is_empty() {
        return Err("other nodes are checked by an authority, and there is none".into());
    }
    let (roots, wrong) = (Arc::new(material.roots()?), |error: rustls::Error| error.to_string());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider());
    let verifier = verifier.build().map_err(|error| error.to_string())?;
    let accepting = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
    let accepting = accepting.map_err(wrong)?.with_client_cert_verifier(verifier);
    let accepting = accepting.with_single_cert(material.chain.clone(), material.key.clone_key());
    let mut accepting = accepting.map_err(wrong)?;
    // Connections of peers are few and last. One that is made again proves again who it is.
    accepting.send_tls13_tickets = 0;
    let dialling = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
    let dialling = dialling.map_err(wrong)?.with_root_certificates(roots);
    let dialling = dialling.with_client_auth_cert(material.chain.clone(), material.key.clone_key());
    let (accepting, dialling) = (Arc::new(accepting), Arc::new(dialling.map_err(wrong)?));
    Ok(Configs { accepting, dialling, own: material.certificate() })
}
