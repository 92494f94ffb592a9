//! TLS of a client: whom it believes, and how it proves who it is.

use super::crypto::provider;
use super::files::{CertFiles, read_certificates, roots};
use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::path::PathBuf;
use std::sync::Arc;

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

/// The settings of a client that believes this authority alone, by its certificate, and shows nothing.
///
/// # Errors
/// A sentence: it cannot be one.
pub fn of_authority(der: CertificateDer<'static>) -> Result<ClientConfig, String> {
    Ok(believing(roots(&[der])?).with_no_client_auth())
}

/// The settings of a client that talks to whoever answers, encrypted, and knows nothing of who that is. Nothing that it is told is
/// believed for that, and no secret may be sent.
pub fn of_anybody() -> ClientConfig {
    let mut config = no_certificates();
    config.dangerous().set_certificate_verifier(Arc::new(Anybody));
    config
}

/// Takes every certificate.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
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
