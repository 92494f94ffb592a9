//! The files with a certificate, its key and those who may sign others, in PEM.

use super::certificate::Certificate;
use super::crypto::provider;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Longest of these files, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where the files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertFiles {
    /// The certificate, and after it those between it and its authority.
    pub cert: PathBuf,
    pub key: PathBuf,
    /// The authorities that are believed. There may be several, while one replaces another.
    pub ca: Option<PathBuf>,
}

/// What the files hold.
pub struct Material {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    pub authorities: Vec<CertificateDer<'static>>,
    /// Of the bytes of all files.
    pub(super) digest: [u8; 32],
}

impl CertFiles {
    /// Reads all files. The key must fit the certificate, and nobody but its owner and group may be able to read it.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn read(&self) -> Result<Material, String> {
        let (cert, key) = (read_file(&self.cert)?, read_key_file(&self.key)?);
        let ca = self.ca.as_deref().map(read_file).transpose()?;
        let mut digest = Sha256::new();
        for bytes in [Some(&cert), Some(&key), ca.as_ref()].into_iter().flatten() {
            digest.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
            digest.update(bytes);
        }
        let chain = certificates(&self.cert, &cert)?;
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|error| named(&self.key, &format!("no private key: {error}")))?;
        let authorities = match (&self.ca, ca) {
            (Some(path), Some(bytes)) => certificates(path, &bytes)?,
            _ => Vec::new(),
        };
        CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider())
            .map_err(|error| named(&self.key, &format!("the key of {}: {error}", self.cert.display())))?;
        Ok(Material { chain, key, authorities, digest: digest.finalize().into() })
    }
}

impl Material {
    /// The owner of the certificate.
    pub fn certificate(&self) -> Certificate {
        self.chain.first().and_then(|der| Certificate::read(der).ok()).unwrap_or_default()
    }

    /// The authorities, for a check of what others show.
    pub(super) fn roots(&self) -> Result<RootCertStore, String> {
        roots(&self.authorities)
    }
}

/// These authorities, for a check of what others show.
pub(super) fn roots(authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).map_err(|error| format!("the certificate of the authority: {error}"))?;
    }
    Ok(roots)
}

/// The owners of the certificates in a file, at least one.
///
/// # Errors
/// A sentence that names the file.
pub fn read_owners(path: &Path) -> Result<Vec<Certificate>, String> {
    read_certificates(path)?.iter().map(|der| Certificate::read(der)).collect()
}

/// The certificates in a text, in PEM.
///
/// # Errors
/// A sentence: it has something else.
pub fn certificates_in(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    found.map_err(|error| format!("no certificates: {error}"))
}

/// The certificates in a file, at least one.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    certificates(path, &read_file(path)?)
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| named(path, &format!("no certificates: {error}")))?;
    match found.iter().try_for_each(|der| Certificate::read(der).map(drop)) {
        Ok(()) if found.is_empty() => Err(named(path, "it has no certificate")),
        Ok(()) => Ok(found),
        Err(reason) => Err(named(path, &reason)),
    }
}

/// A file with a secret, which nobody but its owner and group may be able to read.
///
/// # Errors
/// A sentence that names the file.
pub fn read_key_file(path: &Path) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|error| named(path, &error.to_string()))?;
    let mode = file.metadata().map_err(|error| named(path, &error.to_string()))?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(named(path, "others can read this key: chmod o= it"));
    }
    read_open(path, file)
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    read_open(path, File::open(path).map_err(|error| named(path, &error.to_string()))?)
}

fn read_open(path: &Path, file: File) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| named(path, &error.to_string()))?;
    match u64::try_from(bytes.len()).is_ok_and(|length| length <= FILE_BYTES_MAX) {
        true => Ok(bytes),
        false => Err(named(path, "it is too long for a file with certificates")),
    }
}

fn named(path: &Path, reason: &str) -> String {
    format!("{}: {reason}", path.display())
}
