//! A node that has nothing but a join token gets its certificate before it starts.

use super::cert::write_whole;
use super::commands::ServeArgs;
use super::exit::Usage;
use crate::api::{JoinTokenText, SignedCertificate, TokenText};
use crate::client::{certificate, read_token_file};
use crate::tls::{new_key, read_key_file, signing_request};
use anyhow::{Context, Result};
use clap::Args;
use std::path::{Path, PathBuf};

/// How a node joins a cluster that it has no certificate of.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeJoinArgs {
    /// A file with a join token (`lockstep token join`), which others cannot read: the node gets its certificate with it, in the
    /// files of --tls-cert, --tls-key and --tls-ca, and joins. Afterwards it is not needed
    #[arg(long, env = "LOCKSTEP_JOIN_TOKEN_FILE", value_name = "FILE",
          requires_all = ["join", "tls_cert", "tls_ca"], conflicts_with = "peer_cert")]
    pub join_token_file: Option<PathBuf>,
}

impl ServeJoinArgs {
    /// The token that the node shows where it joins, if it has no other one. A node that has joined needs none.
    pub(super) fn token(&self) -> Result<Option<TokenText>> {
        match &self.join_token_file {
            Some(file) if file.exists() => Ok(Some(read(file)?.text())),
            _ => Ok(None),
        }
    }
}

/// Gets the node's certificate if it has none. Whatever interrupts it, it can be done again: the key is written first, and the
/// cluster gives a certificate to that key again.
pub(super) async fn get_certificate(args: &ServeArgs) -> Result<()> {
    let Some(file) = &args.joining.join_token_file else { return Ok(()) };
    let (Some(cert), Some(key), Some(ca)) = (&args.tls.tls_cert, &args.tls.tls_key, &args.tls.tls_ca) else {
        return Ok(());
    };
    if cert.exists() {
        return Ok(());
    }
    if args.check_config {
        let missing = "does not exist yet: the node gets it with its join token when it starts";
        return Err(Usage(format!("--tls-cert: {} {missing}", cert.display())).into());
    }
    let (token, url) = (read(file)?, args.join.as_deref().unwrap_or_default());
    if !key.exists() {
        write_whole(key, &new_key().map_err(anyhow::Error::msg)?, 0o600)?;
    }
    let pem = String::from_utf8(read_key_file(key).map_err(anyhow::Error::msg)?);
    let request = pem.ok().and_then(|pem| signing_request(&pem).ok());
    let request = request.with_context(|| format!("{}: no private key in PEM", key.display()))?;
    let signed = certificate(url, &token, &request).await.map_err(anyhow::Error::msg)?;
    let SignedCertificate { node, certificate, authorities } = signed;
    write_whole(ca, &authorities, 0o644)?;
    write_whole(cert, &certificate, 0o644)?;
    tracing::info!(node, cert = %cert.display(), "this node has a certificate");
    Ok(())
}

fn read(file: &Path) -> Result<JoinTokenText> {
    let named = |reason: String| Usage(format!("--join-token-file: {reason}"));
    let token = JoinTokenText::parse(&read_token_file(file).map_err(named)?);
    Ok(token
        .ok_or_else(|| named(format!("{}: no token that `lockstep token join` prints", file.display())))?)
}
