//! What a node does for others that have no certificate yet.

use super::authority::{Authority, SigningRequest, issuer_pin, with_local_hosts};
use super::files::{CertFiles, read_certificates};
use super::names::node_host;
use super::pins::Pin;
use std::fs;
use std::path::PathBuf;

/// How long the certificates of nodes that join are good, in days.
const DAYS: u64 = 365;

/// The files of a node's certificate and of those who may sign others. They are read when they are asked for: this is seldom, and
/// they may have changed.
#[derive(Debug, Clone)]
pub struct Joining {
    cert: PathBuf,
    ca: PathBuf,
    ca_key: Option<PathBuf>,
}

impl Joining {
    /// With the key of an authority, it signs.
    ///
    /// # Errors
    /// A sentence: the key cannot be used.
    pub fn open(files: &CertFiles, ca_key: Option<PathBuf>) -> Result<Option<Self>, String> {
        let Some(ca) = files.ca.clone() else { return Ok(None) };
        if let Some(key) = &ca_key {
            Authority::read(&ca, key)?;
        }
        Ok(Some(Self { cert: files.cert.clone(), ca, ca_key }))
    }

    /// Whether it has the key of an authority.
    pub fn signs(&self) -> bool {
        self.ca_key.is_some()
    }

    /// The certificates of the authorities, in PEM.
    ///
    /// # Errors
    /// A sentence.
    pub fn authorities(&self) -> Result<String, String> {
        // Nothing but certificates leaves this node, whatever else is in the file.
        read_certificates(&self.ca)?;
        let text = fs::read_to_string(&self.ca).map_err(|error| error.to_string())?;
        Ok(only_certificates(&text))
    }

    /// The key of the authority that has signed this node's own certificate.
    ///
    /// # Errors
    /// A sentence.
    pub fn own_pin(&self) -> Result<Pin, String> {
        let (chain, authorities) = (read_certificates(&self.cert)?, read_certificates(&self.ca)?);
        issuer_pin(&chain, &authorities).ok_or_else(|| {
            format!("{}: none of its authorities has signed {}", self.ca.display(), self.cert.display())
        })
    }

    /// A certificate for a node of this name at these hosts.
    ///
    /// # Errors
    /// A sentence.
    pub fn sign(&self, request: &SigningRequest, node: &str, hosts: &[String]) -> Result<String, String> {
        let key = self.ca_key.as_ref().ok_or("this node has no key of an authority")?;
        let hosts = with_local_hosts(vec![node_host(node)], hosts);
        Authority::read(&self.ca, key)?.sign(request, hosts, node, DAYS)
    }
}

fn only_certificates(pem: &str) -> String {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let bodies = pem.split(BEGIN).skip(1).filter_map(|rest| rest.split_once(END));
    bodies.map(|(body, _)| format!("{BEGIN}{body}{END}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_certificates_leaves_a_node() {
        let one = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n";
        assert_eq!(only_certificates(&format!("note\n{one}{key}{one}")), one.repeat(2));
        assert_eq!(only_certificates(key), "");
    }
}
