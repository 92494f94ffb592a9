//! What the nodes of `lockstep up` prove who they are with: certificates, and the first token.

use super::cert::{Folder, make_authority};
use super::token::new_secret;
use crate::node::{NewToken, ROOT_TOKEN_FILE};
use crate::tls::ClientTls;
use anyhow::{Context, Result};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// How long the authority and the certificates are good, in days.
const DAYS: u64 = 3_650;

/// What is in the data folder of the cluster.
pub(super) struct Secrets {
    certs: Option<PathBuf>,
    root_token: Option<PathBuf>,
}

impl Secrets {
    /// Those that the folder has, and those that are wanted, which are made.
    pub fn of(folder: &Path, tls: bool, tokens: bool) -> Result<Self> {
        let (certs, root_token) = (folder.join("certs"), folder.join(ROOT_TOKEN_FILE));
        let ca = certs.join("ca.crt");
        if tls && !ca.exists() {
            make_authority(&certs, None, DAYS, false)?;
        }
        if tokens && !root_token.exists() {
            let named = || root_token.display().to_string();
            let made = NewToken::random()?;
            writeln!(new_secret(&root_token)?, "{}", made.text()).with_context(named)?;
        }
        Ok(Self {
            certs: ca.exists().then_some(certs),
            root_token: root_token.exists().then_some(root_token),
        })
    }

    pub fn scheme(&self) -> &'static str {
        if self.certs.is_some() { "https" } else { "http" }
    }

    /// What a client of the nodes believes.
    pub fn tls(&self) -> ClientTls {
        ClientTls { ca: self.ca(), own: None }
    }

    fn ca(&self) -> Option<PathBuf> {
        Some(self.certs.as_ref()?.join("ca.crt"))
    }

    /// The arguments of the node with this name, whose certificate is made if it has none.
    pub fn arguments(&self, name: &str) -> Result<Vec<String>> {
        let mut arguments = Vec::new();
        if let Some(certs) = &self.certs {
            let (cert, key) = (certs.join(format!("{name}.crt")), certs.join(format!("{name}.key")));
            if !cert.exists() {
                // A key without its certificate is what an interrupted start has left.
                let _ = fs::remove_file(&key);
                Folder::read(certs)?.sign_node(&[name], &[], DAYS, false)?;
            }
            for (flag, file) in [("--tls-cert", cert), ("--tls-key", key), ("--tls-ca", certs.join("ca.crt"))]
            {
                arguments.extend([flag.to_owned(), file.display().to_string()]);
            }
        }
        if let Some(root_token) = &self.root_token {
            arguments.extend(["--root-token-file".to_owned(), root_token.display().to_string()]);
        }
        Ok(arguments)
    }

    /// What a person needs to ask the nodes.
    pub fn hints(&self) -> Vec<String> {
        let ca = self.ca().map(|file| ("LOCKSTEP_CA_FILE", file));
        let token = self.root_token.clone().map(|file| ("LOCKSTEP_TOKEN_FILE", file));
        ca.into_iter().chain(token).map(|(name, file)| format!("export {name}={}", file.display())).collect()
    }
}
