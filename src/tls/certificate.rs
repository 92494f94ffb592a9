//! What a certificate says.

use super::names::{client_of, node_of};
use rustls::pki_types::CertificateDer;
use serde::Serialize;
use std::net::IpAddr;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// The owner of a certificate, as the certificate names it. Whether that is true, its signature says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// The nodes that it is for, by name. A node that gets another name has a certificate for both meanwhile.
    pub nodes: Vec<String>,
    /// The token whose rights its owner has, by id.
    pub client: Option<String>,
    /// The other host names and addresses that it is for.
    pub hosts: Vec<String>,
    /// Whether it is of an authority, which signs others.
    pub is_authority: bool,
    /// When it expires, as seconds since 1970.
    pub expires_at: i64,
}

impl Certificate {
    /// Reads a certificate.
    ///
    /// # Errors
    /// A sentence: it is none.
    pub fn read(der: &[u8]) -> Result<Self, String> {
        let (_, parsed) = parse_x509_certificate(der).map_err(|error| format!("no certificate: {error}"))?;
        let mut found = Self {
            is_authority: parsed.is_ca(),
            expires_at: parsed.validity().not_after.timestamp(),
            ..Self::default()
        };
        let names = parsed.subject_alternative_name().ok().flatten();
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(host) => found.note(host),
                GeneralName::IPAddress(bytes) => found.hosts.extend(address(bytes).map(|ip| ip.to_string())),
                _ => {}
            }
        }
        Ok(found)
    }

    fn note(&mut self, host: &str) {
        if let Some(name) = node_of(host) {
            self.nodes.push(name.to_owned());
        } else if let Some(id) = client_of(host) {
            self.client.get_or_insert_with(|| id.to_owned());
        } else {
            self.hosts.push(host.to_owned());
        }
    }

    /// Whether it is for the node with this name.
    pub fn is_of_node(&self, name: &str) -> bool {
        self.nodes.iter().any(|known| known == name)
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// When the first of these certificates expires, as seconds since 1970. `None` if there are none.
pub fn expires_at(certificates: &[CertificateDer<'_>]) -> Option<i64> {
    certificates.iter().filter_map(|der| Some(Certificate::read(der).ok()?.expires_at)).min()
}
