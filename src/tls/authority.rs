//! An authority of one's own, which signs the certificates of nodes and clients.

use super::files::{read_certificates, read_key_file};
use super::pins::{Pin, pin_of};
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use rustls::pki_types::CertificateDer;
use std::path::Path;
use std::time::{Duration, SystemTime};
use x509_parser::parse_x509_certificate;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Clocks differ: a certificate is good a little earlier than it was made.
const BACKDATED: Duration = Duration::from_secs(3600);
/// The hosts at which every node can be reached from its own machine.
const LOCAL_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Who signs.
pub struct Authority(Issuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
pub struct Issued {
    pub cert: String,
    pub key: String,
}

/// A public key that somebody wants a certificate for, and has proven to have the private one of.
pub struct SigningRequest(CertificateSigningRequestParams);

impl Authority {
    /// The one with this key, whose certificate is among those in the other file.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn read(cert: &Path, key: &Path) -> Result<Self, String> {
        let named = |reason: &dyn std::fmt::Display| format!("{}: {reason}", key.display());
        let text = String::from_utf8(read_key_file(key)?).map_err(|_| named(&"this is no PEM file"))?;
        let pair = KeyPair::from_pem(&text).map_err(|error| named(&error))?;
        let own = pin_of(&pair.subject_public_key_info());
        let found = read_certificates(cert)?;
        let der = found.iter().find(|der| Pin::of_certificate(der).is_ok_and(|pin| pin == own));
        let der =
            der.ok_or_else(|| named(&format_args!("no certificate in {} has this key", cert.display())))?;
        Ok(Self(Issuer::from_ca_cert_der(der, pair).map_err(|error| named(&error))?))
    }

    /// A certificate for these hosts, good for so many days, with a new key.
    ///
    /// # Errors
    /// A sentence: one of the hosts is none.
    pub fn issue(&self, hosts: Vec<String>, common_name: &str, days: u64) -> Result<Issued, String> {
        let params = leaf(hosts, common_name, days)?;
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let cert = params.signed_by(&key, &self.0).map_err(|error| error.to_string())?.pem();
        Ok(Issued { cert, key: key.serialize_pem() })
    }

    /// A certificate for these hosts and the key of the request. Whatever else the request asks for is not given.
    ///
    /// # Errors
    /// A sentence: one of the hosts is none.
    pub fn sign(
        &self,
        request: &SigningRequest,
        hosts: Vec<String>,
        common_name: &str,
        days: u64,
    ) -> Result<String, String> {
        let cert = leaf(hosts, common_name, days)?.signed_by(&request.0.public_key, &self.0);
        Ok(cert.map_err(|error| error.to_string())?.pem())
    }
}

impl SigningRequest {
    /// # Errors
    /// A sentence: it is none, or its signature is not that of its key.
    pub fn read(pem: &str) -> Result<Self, String> {
        let read = CertificateSigningRequestParams::from_pem(pem);
        read.map(Self).map_err(|error| format!("expected a certificate signing request in PEM: {error}"))
    }

    /// SHA-256 of the public key.
    pub fn key(&self) -> Pin {
        pin_of(&self.0.public_key.subject_public_key_info())
    }
}

/// A request for a certificate with this key, in PEM. It names nobody: the answer does.
///
/// # Errors
/// A sentence: this is no key.
pub fn signing_request(key_pem: &str) -> Result<String, String> {
    let key = KeyPair::from_pem(key_pem).map_err(|error| error.to_string())?;
    let request = CertificateParams::default().serialize_request(&key).map_err(|error| error.to_string())?;
    request.pem().map_err(|error| error.to_string())
}

/// A new private key, in PEM.
///
/// # Errors
/// The system gives no random numbers.
pub fn new_key() -> Result<String, String> {
    Ok(KeyPair::generate().map_err(|error| error.to_string())?.serialize_pem())
}

/// These hosts, and those at which a node can be reached from its own machine.
pub fn with_local_hosts(mut names: Vec<String>, hosts: &[String]) -> Vec<String> {
    let local = LOCAL_HOSTS.map(str::to_owned);
    for host in hosts.iter().chain(&local).map(|host| host.trim_matches(['[', ']'])) {
        if !names.iter().any(|known| known == host) {
            names.push(host.to_owned());
        }
    }
    names
}

fn leaf(hosts: Vec<String>, common_name: &str, days: u64) -> Result<CertificateParams, String> {
    let mut params = CertificateParams::new(hosts).map_err(|error| error.to_string())?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    bound(&mut params, days);
    Ok(params)
}

/// Sets from when and until when a certificate is good.
pub fn bound(params: &mut CertificateParams, days: u64) {
    let now = SystemTime::now();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + DAY * u32::try_from(days).unwrap_or(u32::MAX)).into();
}

/// The key of the authority that has signed the last of these certificates, if it is among these.
pub fn issuer_pin(chain: &[CertificateDer<'_>], authorities: &[CertificateDer<'_>]) -> Option<Pin> {
    let (_, last) = parse_x509_certificate(chain.last()?).ok()?;
    let signed = |der: &&CertificateDer<'_>| {
        parse_x509_certificate(der).is_ok_and(|(_, authority)| {
            authority.subject().as_raw() == last.issuer().as_raw()
                && last.verify_signature(Some(authority.public_key())).is_ok()
        })
    };
    Pin::of_certificate(authorities.iter().find(signed)?).ok()
}
