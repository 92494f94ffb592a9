//! The first token, and one for operators who have lost theirs. There is no way to it over the network: whoever can write into a
//! node's data folder can have one.

use super::access::{NewToken, Principal};
use super::inner::Inner;
use super::write::{Asked, WriteRequest};
use crate::cache::{Cache, Command, CommandError, Grant, Role, SecretHash, TokenChange, TokenLimits};
use crate::node::NodeError;
use serde::{Deserialize, Serialize};
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// In the data folder: asks the node to have the cluster take a token. It has no secret.
const REQUEST: &str = "root-token.json";
/// In the data folder: the token.
pub const ROOT_TOKEN_FILE: &str = "root-token";
/// How often a node looks for a request.
const INTERVAL: Duration = Duration::from_secs(1);
/// The pause before a node looks again whether there are tokens, while it has just started or the cluster lacks its first one.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
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
/// cluster take it within a second, or when it starts. Both files belong to whom the folder belongs to. Blocks.
///
/// # Errors
/// A file cannot be written. Then there is no such token.
pub fn request_root_token(folder: &Path, out: &Path) -> io::Result<()> {
    let token = NewToken::random()?;
    let owner = fs::metadata(folder)?;
    write_new(out, format!("{}\n", token.text()).as_bytes(), &owner)?;
    let name = format!("root-{}", token.id);
    let request = Request { id: token.id.clone(), name, secret: token.secret() };
    let asked = write_aside(&folder.join(REQUEST), &serde_json::to_vec(&request)?, &owner);
    if asked.is_err() {
        let _ = fs::remove_file(out);
    }
    asked
}

/// Writes a file aside, and gives it its name once it is on disk.
fn write_aside(path: &Path, bytes: &[u8], owner: &Metadata) -> io::Result<()> {
    let aside = path.with_extension("part");
    let _ = fs::remove_file(&aside);
    write_new(&aside, bytes, owner)?;
    fs::rename(aside, path)?;
    fs::File::open(path.parent().unwrap_or(path))?.sync_all()
}

/// Writes a file that was not there, for the same owner as the folder's.
fn write_new(path: &Path, bytes: &[u8], owner: &Metadata) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (owner.uid(), owner.gid()) {
        // Whoever is not root can give nothing away, and needs not: the node runs as the same user then.
        let _ = fchown(&file, Some(owner.uid()), Some(owner.gid()));
    }
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
    // Requests cost a little more until it is known whether they need a token.
    while let Some(inner) = inner.upgrade()
        && !inner.look_for_tokens(INTERVAL).await
    {
        drop(inner);
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    while let Some(inner) = inner.upgrade() {
        let founded = found(&inner).await;
        if let Err(error) = &founded {
            tracing::warn!(%error, "cannot make the first token");
        }
        let taken = take_request(&inner).await;
        if let Err(error) = &taken {
            tracing::warn!(%error, "cannot take the token that was asked for in the data folder");
        }
        // A new cluster's clients wait for its first token.
        let waits = founded.is_ok() && taken.is_ok() && inner.lacks_first_token();
        drop(inner);
        tokio::time::sleep(if waits { LOOK_PAUSE } else { INTERVAL }).await;
    }
}

/// The leader makes the first token, if requests need one.
async fn found(inner: &Arc<Inner>) -> Result<(), String> {
    let Some(root) = &inner.options.require_tokens else { return Ok(()) };
    // It may have applied none of what others did before.
    let knows = inner.judge_as_leader(&Principal::Anyone, Vec::new).is_some();
    if !knows || !inner.lacks_first_token() {
        return Ok(());
    }
    let (id, secret) = match root {
        RootToken::Given(given) => given.parts().ok_or("the given token is none")?,
        RootToken::Made => {
            let folder = inner.options.data_dir.clone();
            let made = tokio::task::spawn_blocking(move || own_root_token(&folder));
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

/// The token in the data folder's file, which is made if it is not there: an attempt before this one may have ended in between.
/// Blocks.
fn own_root_token(folder: &Path) -> io::Result<(String, SecretHash)> {
    let path = folder.join(ROOT_TOKEN_FILE);
    if !path.exists() {
        let text = format!("{}\n", NewToken::random()?.text());
        write_aside(&path, text.as_bytes(), &fs::metadata(folder)?)?;
    }
    let token = Principal::of_token(fs::read_to_string(&path)?.trim());
    let unknown = || io::Error::other(format!("{} has no token: remove it", path.display()));
    token.as_ref().and_then(Principal::parts).ok_or_else(unknown)
}

/// Has the cluster take the token that is asked for in the data folder.
async fn take_request(inner: &Arc<Inner>) -> Result<(), String> {
    let path: PathBuf = inner.options.data_dir.join(REQUEST);
    // Almost never there is one: a look takes a microsecond, and costs no other thread.
    if !path.try_exists().map_err(|error| error.to_string())? {
        return Ok(());
    }
    let bytes = tokio::fs::read(&path).await.map_err(|error| error.to_string())?;
    let request: Request = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let name = request.name.clone();
    create(inner, request).await?;
    tracing::warn!(name, "a token that may do everything was made, as the data folder asked");
    // Unless there is another request by now.
    if tokio::fs::read(&path).await.is_ok_and(|now| now == bytes) {
        tokio::fs::remove_file(&path).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

async fn create(inner: &Arc<Inner>, request: Request) -> Result<(), String> {
    let Request { id, name, secret } = request;
    let grants = vec![Grant { role: Role::Admin, prefix: String::new() }];
    let change = TokenChange::Create {
        id: id.clone(),
        name,
        secret,
        grants,
        limits: TokenLimits::default(),
        ttl_ms: None,
    };
    let command = WriteRequest::from(Command::Tokens(Box::new(change)));
    match inner.write(command, &Asked::by_program()).await {
        Ok(_) => Ok(()),
        // An attempt before this one may have come through.
        Err(NodeError::Refused { error: CommandError::TokenExists, .. }) if is_known(inner, &id, &secret) => {
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
}

fn is_known(inner: &Inner, id: &str, secret: &SecretHash) -> bool {
    let look = |cache: &Cache| cache.tokens().shown(id, Some(secret), cache.now_ms()).is_some();
    inner.consensus.replica().with_cache(look)
}
