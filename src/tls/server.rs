//! TLS of the port for clients.

use super::certificate::Certificate;
use super::crypto::provider;
use super::files::{CertFiles, Material};
use super::watched::{Reload, Watched};
use rustls::ServerConfig;
use rustls::crypto::ring::Ticketer;
use rustls::server::WebPkiClientVerifier;
use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How a node proves to its clients who it is. Clones share it.
#[derive(Clone)]
pub struct ServerTls(Arc<Watched<ServerConfig>>);

impl ServerTls {
    /// # Errors
    /// A sentence: the files cannot be used.
    pub fn open(files: CertFiles) -> Result<Self, String> {
        Ok(Self(Arc::new(Watched::open(files, config)?)))
    }

    /// Shakes hands with a client. Also returns the owner of the certificate that it showed, if it did and an authority that is
    /// believed signed it.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn accept<S>(&self, stream: S) -> io::Result<(TlsStream<S>, Option<Certificate>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = TlsAcceptor::from(self.0.get()).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let owner = shown.and_then(|der| Certificate::read(der).ok());
        // A session that is resumed shows again what was good when it began.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |now| now.as_secs());
        let owner = owner.filter(|owner| u64::try_from(owner.expires_at).is_ok_and(|at| at > now));
        Ok((stream, owner))
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerTls(..)")
    }
}

impl Reload for ServerTls {
    fn reload(&self) -> Result<bool, String> {
        self.0.reload()
    }

    fn expires_at(&self) -> i64 {
        self.0.expires_at()
    }
}

fn config(material: &Material) -> Result<ServerConfig, String> {
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let builder = if material.authorities.is_empty() {
        builder.with_no_client_auth()
    } else {
        // A client without a certificate can have a token instead. The routes decide.
        let verifier = WebPkiClientVerifier::builder_with_provider(material.roots()?.into(), provider());
        let verifier = verifier.allow_unauthenticated().build().map_err(|error| error.to_string())?;
        builder.with_client_cert_verifier(verifier)
    };
    let config = builder.with_single_cert(material.chain.clone(), material.key.clone_key());
    let mut config = config.map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = Ticketer::new().map_err(|error| error.to_string())?;
    Ok(config)
}
