//! The first token, and one for operators who have lost theirs. There is no way to it over the network: whoever can write into a
//! node's data folder can have one.

use super::access::{NewToken, Principal};
use super::inner::Inner;
use super::write::{Asked, WriteRequest};
use crate::cache::{Command, CommandError, Grant, Role, SecretHash, TokenChange};
use crate::node::NodeError;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// In the data folder: asks the node to have the cluster take a token. It has no secret.
const REQUEST: &str = "root-token.json";
/// In the data folder: the token.
pub const ROOT_TOKEN_FILE: &str = "root-token";
/// How often a node looks for a request.
const INTERVAL: Duration = Duration::from_secs(1);
/// Only the owner can read it.
const MODE: u32 = 0o600;

/// The content of [`REQUEST`].
#[derive(Serialize, Deserialize)]
struct Request {
    id: String,
    name: String,
    secret: SecretHash,
}

/// Makes a token that may do everything, and writes it to `out`, which must not be there yet. The node on the data folder has the
/// cluster take it within a second, or when it starts. Blocks.
///
/// # Errors
/// A file cannot be written. Then there is no such token.
pub fn request_root_token(folder: &Path, out: &Path) -> io::Result<()> {
    let token = NewToken::random()?;
    write_new(out, format!("{}\n", token.text()).as_bytes())?;
    let name = format!("root-{}", token.id);
    let request = Request { id: token.id.clone(), name, secret: token.secret() };
    let asked = write_request(folder, &request);
    if asked.is_err() {
        let _ = fs::remove_file(out);
    }
    asked
}

fn write_request(folder: &Path, request: &Request) -> io::Result<()> {
    let path = folder.join(REQUEST);
    let aside = path.with_extension("part");
    let _ = fs::remove_file(&aside);
    write_new(&aside, &serde_json::to_vec(request)?)?;
    fs::rename(aside, path)?;
    fs::File::open(folder)?.sync_all()
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Where the first token of a cluster comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootToken {
    /// The node that leads makes one, and writes it into its data folder.
    Made,
    /// Somebody has given this one to all nodes.
    Given(Principal),
}

/// Has the cluster take its first token, and those that somebody asks for.
pub(super) async fn keep_tokens(inner: Weak<Inner>) {
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        interval.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        if let Err(error) = found(&inner).await {
            tracing::warn!(%error, "cannot make the first token");
        }
        if let Err(error) = take_request(&inner).await {
            tracing::warn!(%error, "cannot take the token that was asked for in the data folder");
        }
    }
}

/// The leader makes the first token, if requests need one.
async fn found(inner: &Arc<Inner>) -> Result<(), String> {
    let Some(root) = &inner.options.require_tokens else { return Ok(()) };
    let is_due = inner.consensus.is_leader() && !inner.consensus.replica().has_tokens();
    // It may have applied none of what others did before.
    if !is_due || inner.judge_as_leader(&Principal::Anyone, &[]).is_none() {
        return Ok(());
    }
    let (id, secret) = match root {
        RootToken::Given(given) => given.parts().ok_or("the given token is none")?,
        RootToken::Made => {
            let folder = inner.options.data_dir.clone();
            let made = tokio::task::spawn_blocking(move || {
                let path = folder.join(ROOT_TOKEN_FILE);
                // An attempt before this one may have ended in between.
                if !path.exists() {
                    write_new(&path, format!("{}\n", NewToken::random()?.text()).as_bytes())?;
                }
                let token = Principal::of_token(fs::read_to_string(&path)?.trim());
                token
                    .as_ref()
                    .and_then(Principal::parts)
                    .ok_or_else(|| io::Error::other("the file `root-token` has no token"))
            });
            made.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?
        }
    };
    create(inner, Request { id, name: "root".into(), secret }).await?;
    if *root == RootToken::Made {
        let path = inner.options.data_dir.join(ROOT_TOKEN_FILE);
        tracing::warn!(file = %path.display(), "requests need a token now: this file has one that may do everything");
    }
    Ok(())
}

/// Has the cluster take the token that is asked for in the data folder.
async fn take_request(inner: &Arc<Inner>) -> Result<(), String> {
    let path: PathBuf = inner.options.data_dir.join(REQUEST);
    // A look at its name takes a microsecond, and almost never there is one.
    if !path.exists() {
        return Ok(());
    }
    let bytes = tokio::fs::read(&path).await.map_err(|error| error.to_string())?;
    let request: Request = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let name = request.name.clone();
    create(inner, request).await?;
    tracing::warn!(name, "a token that may do everything was made, as the data folder asked");
    tokio::fs::remove_file(&path).await.map_err(|error| error.to_string())
}

async fn create(inner: &Arc<Inner>, request: Request) -> Result<(), String> {
    let Request { id, name, secret } = request;
    let grants = vec![Grant { role: Role::Admin, prefix: String::new() }];
    let change = TokenChange::Create { id, name, secret, grants, ttl_ms: None };
    let command = WriteRequest::from(Command::Tokens(Box::new(change)));
    match inner.write(command, &Asked::by_program()).await {
        Ok(_) => Ok(()),
        // An attempt before this one came through.
        Err(NodeError::Refused { error: CommandError::TokenExists, .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}
