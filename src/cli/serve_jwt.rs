//! Tokens that others sign: flags of `serve`, and reading their files again.

use super::exit::Usage;
use crate::jwt::{JwtFiles, JwtVerifier};
use crate::tls::RELOAD_INTERVAL;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use tokio::signal::unix::Signal;
use tokio::time::sleep;

/// Whose JSON Web Tokens a node takes.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeJwtArgs {
    /// Take JSON Web Tokens that are signed with a key in this JSON Web Key Set, besides the cluster's own tokens
    #[arg(long, env = "LOCKSTEP_JWT_KEYS", value_name = "FILE", requires_all = ["jwt_issuer", "jwt_audience"])]
    pub jwt_keys: Option<PathBuf>,
    /// Who signs them: their claim `iss`
    #[arg(long, env = "LOCKSTEP_JWT_ISSUER", value_name = "ISSUER", requires = "jwt_keys")]
    pub jwt_issuer: Option<String>,
    /// Whom they are for: their claim `aud`, or one of several
    #[arg(long, env = "LOCKSTEP_JWT_AUDIENCE", value_name = "AUDIENCE", requires = "jwt_keys")]
    pub jwt_audience: Option<String>,
    /// A JSON file that says what their subjects may do [default: their claim `lockstep` says it]
    #[arg(long, env = "LOCKSTEP_JWT_GRANTS", value_name = "FILE", requires = "jwt_keys")]
    pub jwt_grants: Option<PathBuf>,
}

impl ServeJwtArgs {
    /// Reads the files.
    pub fn open(&self, asks_for_tokens: bool) -> Result<Option<JwtVerifier>> {
        let (Some(keys), Some(issuer), Some(audience)) =
            (&self.jwt_keys, &self.jwt_issuer, &self.jwt_audience)
        else {
            return Ok(None);
        };
        if !asks_for_tokens {
            let reason = "--jwt-keys: without --tokens or --root-token-file no request needs a token";
            return Err(Usage(reason.into()).into());
        }
        let files = JwtFiles {
            keys: keys.clone(),
            grants: self.jwt_grants.clone(),
            issuer: issuer.clone(),
            audience: audience.clone(),
        };
        let verifier = JwtVerifier::open(files).map_err(|reason| Usage(format!("--jwt-keys: {reason}")))?;
        Ok(Some(verifier))
    }
}

/// Reads the files again on each hang-up signal, and every ten seconds.
pub(super) async fn keep_current(verifier: JwtVerifier, mut hang_up: Signal) {
    let mut logged = None;
    loop {
        let asked = tokio::select! {
            asked = hang_up.recv() => asked.is_some(),
            () = sleep(RELOAD_INTERVAL) => false,
        };
        let again = verifier.clone();
        let Ok(found) = tokio::task::spawn_blocking(move || again.reload()).await else { continue };
        match &found {
            Ok(true) => tracing::info!("new keys or grants for JSON Web Tokens"),
            Ok(false) => {}
            Err(error) if asked || logged.as_ref() != Some(error) => {
                tracing::warn!(
                    error,
                    "the keys or grants for JSON Web Tokens cannot be used: those before stay"
                );
            }
            Err(_) => {}
        }
        logged = found.err();
    }
}
