//! TLS of a client: whom it believes, and how it proves who it is.

use super::crypto::provider;
use super::files::{CertFiles, read_certificates, roots};
use rustls::client::WantsClientCert;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use std::path::PathBuf;

/// Where a client's certificates are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// The authorities that are believed; those of the system if `None`.
    pub ca: Option<PathBuf>,
    /// The client's own certificate and its key.
    pub own: Option<(PathBuf, PathBuf)>,
}

impl ClientTls {
    /// Reads the files.
    ///
    /// # Errors
    /// A sentence.
    pub fn config(&self) -> Result<ClientConfig, String> {
        let roots = match &self.ca {
            Some(path) => roots(&read_certificates(path)?)?,
            None => of_the_system(),
        };
        let config = believing(roots);
        let Some((cert, key)) = &self.own else { return Ok(config.with_no_client_auth()) };
        let own = CertFiles { cert: cert.clone(), key: key.clone(), ca: None }.read()?;
        config.with_client_auth_cert(own.chain, own.key).map_err(|error| error.to_string())
    }
}

/// The settings of a client that speaks plain HTTP: it believes nobody.
pub fn no_certificates() -> ClientConfig {
    believing(RootCertStore::empty()).with_no_client_auth()
}

fn believing(roots: RootCertStore) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().expect("ring has the default versions");
    builder.with_root_certificates(roots)
}

fn of_the_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // Some of a system's may be out of order. Those that are missed make a connection fail, with a reason.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}
