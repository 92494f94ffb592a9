//! Certificates for tests: authorities, and what they sign, good and bad.

#![allow(dead_code, reason = "each test binary uses its own part")]

use lockstep::tls::{CertFiles, node_host};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// An authority, and the folder with its certificate and what it signs.
pub struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    /// The certificates between this authority and the one that is believed.
    above: String,
    pub pem: String,
}

/// When a certificate is good.
pub enum Good {
    Now,
    Earlier,
    Later,
}

impl Authority {
    /// One that is believed by whoever gets `ca.crt` from the folder.
    pub fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir).expect("a folder");
        let (params, key) = (params(Vec::new(), true), KeyPair::generate().expect("a key"));
        let pem = params.self_signed(&key).expect("signed").pem();
        fs::write(dir.join("ca.crt"), &pem).expect("written");
        Self { dir: dir.to_owned(), issuer: Issuer::new(params, key), above: String::new(), pem }
    }

    /// One that is believed because this one signed it.
    pub fn below(&self) -> Self {
        let (params, key) = (params(Vec::new(), true), KeyPair::generate().expect("a key"));
        let pem = params.signed_by(&key, &self.issuer).expect("signed").pem();
        let above = format!("{pem}{}", self.above);
        Self { dir: self.dir.clone(), issuer: Issuer::new(params, key), above, pem }
    }

    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// A certificate for these hosts, in files of this name.
    pub fn issue(&self, file: &str, hosts: &[&str], good: Good) -> CertFiles {
        let mut params = params(hosts.iter().map(|host| (*host).to_owned()).collect(), false);
        let now = SystemTime::now();
        let (from, until) = match good {
            Good::Now => (now - DAY, now + DAY),
            Good::Earlier => (now - 2 * DAY, now - DAY),
            Good::Later => (now + DAY, now + 2 * DAY),
        };
        (params.not_before, params.not_after) = (from.into(), until.into());
        let key = KeyPair::generate().expect("a key");
        let pem = params.signed_by(&key, &self.issuer).expect("signed").pem();
        let (cert, key_file) = (self.dir.join(format!("{file}.crt")), self.dir.join(format!("{file}.key")));
        fs::write(&cert, format!("{pem}{}", self.above)).expect("written");
        fs::write(&key_file, key.serialize_pem()).expect("written");
        fs::set_permissions(&key_file, Permissions::from_mode(0o600)).expect("set");
        CertFiles { cert, key: key_file, ca: Some(self.ca()) }
    }

    /// A node's certificate, good for loopback.
    pub fn node(&self, name: &str) -> CertFiles {
        self.issue(name, &[&node_host(name), "127.0.0.1", "localhost"], Good::Now)
    }
}

fn params(hosts: Vec<String>, is_authority: bool) -> CertificateParams {
    let mut params = CertificateParams::new(hosts).expect("names");
    params.distinguished_name.push(DnType::CommonName, if is_authority { "authority" } else { "somebody" });
    if is_authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    }
    params
}
