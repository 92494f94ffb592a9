//! `lockstep token`: who may do what.

use super::common_args::Target;
use super::exit::Usage;
use super::kv::connect;
use crate::api::{
    BlockInfo, BlockRequest, CreateJoinToken, CreateToken, JoinTokenInfo, MadeToken, RotateToken, TokenInfo,
};
use crate::cache::{Blocked, Grant, Quota, Role, TokenLimits};
use crate::client::{Client, ClientError};
use crate::node::{NewToken, ROOT_TOKEN_FILE, request_root_token};
use anyhow::{Context, Result};
use chrono::{DateTime, SecondsFormat};
use clap::{Args, Subcommand};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    pub command: TokenCommand,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token; it is shown once
    Create {
        /// What it is for; no two have the same name
        name: String,
        /// What it allows: read:PREFIX, write:PREFIX (which includes reading), observe or admin; repeat it for more. `read:` is
        /// all keys
        #[arg(long, required = true, value_parser = parse_grant)]
        grant: Vec<Grant>,
        /// How long it is good, in milliseconds [default: until it is revoked]
        #[arg(long)]
        ttl_ms: Option<u64>,
        #[command(flatten)]
        limits: LimitArgs,
        /// Write it to this file, which only its owner can read, instead of printing it
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Make a join token: with it a node of this name gets its certificate and joins, once (`serve --join-token-file`)
    Join {
        /// The node's name
        node: String,
        /// Host names and addresses at which clients reach it, separated by commas
        #[arg(long, value_name = "HOST", value_delimiter = ',')]
        host: Vec<String>,
        /// How long it is good, in milliseconds: an hour at most
        #[arg(long, default_value_t = 3_600_000)]
        ttl_ms: u64,
        /// Write it to this file, which only its owner can read, instead of printing it
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// List the tokens that are good, without their secrets
    List,
    /// Show what this command's own token allows
    Show,
    /// Give a token a new secret; the old one stays good for a while
    Rotate {
        /// Its name or id
        token: String,
        /// How long the old secret stays good, in milliseconds; 0 ends it at once
        #[arg(long, default_value_t = 3_600_000)]
        overlap_ms: u64,
        /// Write it to this file, which only its owner can read, instead of printing it
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Give a token other limits; a flag that is left out is no limit
    Limit {
        /// Its name or id
        token: String,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// End a token: a request that begins after this is refused on every node
    Revoke {
        /// Its name or id
        token: String,
    },
    /// Refuse JSON Web Tokens that somebody else has signed: a request that begins after this is refused on every node
    Block {
        #[command(flatten)]
        blocked: BlockedArgs,
        /// How long, in milliseconds [default: a subject until it is unblocked, a single token as long as it can be good]
        #[arg(long)]
        ttl_ms: Option<u64>,
    },
    /// Lift such a block
    Unblock {
        #[command(flatten)]
        blocked: BlockedArgs,
    },
    /// List what is blocked
    Blocks,
    /// Print a new token that no cluster knows yet, for --root-token-file
    Generate {
        /// Write it to this file, which only its owner can read, instead of printing it
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Make a token that may do everything, on the machine of a node, if all others are lost
    ///
    /// The node has the cluster take it within a second, or when it starts. Whoever can write into its data folder can do
    /// this.
    Recover {
        /// The node's data folder
        #[arg(long)]
        data_dir: PathBuf,
        /// Where the token goes [default: root-token in the data folder]
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

/// What the holder of a token may use of each node.
#[derive(Debug, Clone, Copy, Args)]
pub struct LimitArgs {
    /// Most requests to a node in a time, as 100/s or 5000/15m [default: any number]
    #[arg(long, value_name = "COUNT/TIME")]
    requests: Option<Quota>,
    /// Most bytes in the bodies of these requests, as 1000000/s [default: any number]
    #[arg(long, value_name = "COUNT/TIME")]
    body_bytes: Option<Quota>,
}

impl From<LimitArgs> for TokenLimits {
    fn from(LimitArgs { requests, body_bytes }: LimitArgs) -> Self {
        Self { requests, body_bytes }
    }
}

/// Which JSON Web Tokens.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct BlockedArgs {
    /// All about this subject: their claim `sub`
    #[arg(long)]
    subject: Option<String>,
    /// A single one: its claim `jti`
    #[arg(long)]
    jwt_id: Option<String>,
}

impl From<BlockedArgs> for Blocked {
    fn from(BlockedArgs { subject, jwt_id }: BlockedArgs) -> Self {
        // One of them is there.
        subject.map_or_else(|| Self::JwtId(jwt_id.unwrap_or_default()), Self::Subject)
    }
}

/// Runs the command.
pub async fn token(args: TokenArgs) -> Result<()> {
    let TokenArgs { command, target } = args;
    match command {
        TokenCommand::Generate { out } => {
            let made = NewToken::random()?;
            match out {
                None => println!("{}", made.text()),
                Some(path) => writeln!(new_secret(&path)?, "{}", made.text())?,
            }
            return Ok(());
        }
        TokenCommand::Recover { data_dir, out } => {
            let out = out.unwrap_or_else(|| data_dir.join(ROOT_TOKEN_FILE));
            return recover(&data_dir, &out);
        }
        _ => {}
    }
    let (client, output) = connect(&target)?;
    match command {
        TokenCommand::Create { name, grant, ttl_ms, limits, out } => {
            let request = CreateToken { name, grants: grant, limits: limits.into(), ttl_ms };
            made(out.as_deref(), output.json, client.create_token(&request)).await
        }
        TokenCommand::Join { node, host, ttl_ms, out } => {
            let request = CreateJoinToken { node, hosts: host, ttl_ms };
            made(out.as_deref(), output.json, client.create_join_token(&request)).await
        }
        TokenCommand::List => {
            let list = client.tokens().await?;
            output.print(&list, || {
                let lines = list.tokens.iter().map(line).chain(list.join_tokens.iter().map(join_line));
                let lines: Vec<String> = lines.collect();
                match (lines.is_empty(), list.required) {
                    (false, _) => lines.join("\n"),
                    (true, true) => "requests need a token, and there is none".to_owned(),
                    (true, false) => "there are no tokens: requests need none".to_owned(),
                }
            })
        }
        TokenCommand::Show => {
            let own = client.own_token().await?;
            output.print(&own, || line(&own))
        }
        TokenCommand::Rotate { token, overlap_ms, out } => {
            let id = id_of(&client, &token).await?;
            made(out.as_deref(), output.json, client.rotate_token(&id, &RotateToken { overlap_ms })).await
        }
        TokenCommand::Limit { token, limits } => {
            let id = id_of(&client, &token).await?;
            let changed = client.limit_token(&id, &limits.into()).await?;
            output.print(&changed, || format!("{token} has these limits from now on"))
        }
        TokenCommand::Revoke { token } => {
            let id = id_of(&client, &token).await?;
            let revoked = client.revoke_token(&id).await?;
            output.print(&revoked, || format!("revoked {token}"))
        }
        TokenCommand::Block { blocked, ttl_ms } => {
            let request = BlockRequest { blocked: blocked.into(), ttl_ms };
            output.print(&client.block(&request).await?, || "blocked".to_owned())
        }
        TokenCommand::Unblock { blocked } => {
            output.print(&client.unblock(&blocked.into()).await?, || "the block is lifted".to_owned())
        }
        TokenCommand::Blocks => {
            let list = client.blocks().await?;
            output.print(&list, || match list.blocks.is_empty() {
                true => "nothing is blocked".to_owned(),
                false => list.blocks.iter().map(block_line).collect::<Vec<_>>().join("\n"),
            })
        }
        TokenCommand::Generate { .. } | TokenCommand::Recover { .. } => Ok(()),
    }
}

fn line(token: &TokenInfo) -> String {
    let grants: Vec<String> = token.grants.iter().map(Grant::to_string).collect();
    let expires = token.expires_at_ms.map_or_else(String::new, |at| format!(", expires at {}", time(at)));
    let old = token
        .old_secret_until_ms
        .map_or_else(String::new, |at| format!(", old secret good until {}", time(at)));
    let limit = |name: &str, quota: Option<Quota>| {
        quota.map_or_else(String::new, |quota| format!(", {name} {quota}"))
    };
    let requests = limit("requests", token.limits.requests);
    let body_bytes = limit("body bytes", token.limits.body_bytes);
    format!("{}  {}  {}{requests}{body_bytes}{expires}{old}", token.id, token.name, grants.join(" "))
}

/// Log time, as people read it.
fn time(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(DateTime::from_timestamp_millis);
    at.map_or_else(|| at_ms.to_string(), |at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
}

fn join_line(token: &JoinTokenInfo) -> String {
    let JoinTokenInfo { id, node, hosts, expires_at_ms, certified, claimed } = token;
    let used = match (certified, claimed) {
        (_, true) => ", a data folder has claimed it",
        (true, false) => ", a key has its certificate",
        (false, false) => "",
    };
    let at = if hosts.is_empty() { String::new() } else { format!(" at {}", hosts.join(" ")) };
    format!("{id}  node {node} may join{at}{used}, expires at {}", time(*expires_at_ms))
}

fn block_line(BlockInfo { blocked, until_ms }: &BlockInfo) -> String {
    let until = until_ms.map_or_else(String::new, |at| format!(" until {}", time(at)));
    match blocked {
        Blocked::Subject(subject) => format!("subject {subject}{until}"),
        Blocked::JwtId(id) => format!("token {id}{until}"),
    }
}

/// Prints the token that is made, or writes it to a file. The file is there before the token is: a token that nobody has is
/// of no use.
async fn made(
    out: Option<&Path>,
    json: bool,
    making: impl Future<Output = Result<MadeToken, ClientError>>,
) -> Result<()> {
    let Some(path) = out else {
        let made = making.await?;
        if json {
            println!("{}", serde_json::to_string(&made)?);
        } else {
            println!("{}", made.token);
        }
        return Ok(());
    };
    let named = || path.display().to_string();
    let mut file = new_secret(path)?;
    let made = making.await.inspect_err(|_| drop(fs::remove_file(path)))?;
    writeln!(file, "{}", made.token).and_then(|()| file.sync_all()).with_context(named)?;
    eprintln!("the token {} is in {}", made.id, path.display());
    Ok(())
}

/// A file that is not there yet, and that only its owner can read.
pub(super) fn new_secret(path: &Path) -> Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.with_context(|| path.display().to_string())
}

/// The id of the token with this name or id, or of the join token with this id.
async fn id_of(client: &Client, wanted: &str) -> Result<String> {
    let list = client.tokens().await?;
    let found = list.tokens.iter().find(|token| token.name == wanted || token.id == wanted);
    let joins = list.join_tokens.iter().map(|token| &token.id).find(|id| *id == wanted);
    let id = found.map(|token| &token.id).or(joins);
    Ok(id.with_context(|| format!("no token has the name or the id `{wanted}`"))?.clone())
}

fn recover(folder: &Path, out: &Path) -> Result<()> {
    if !folder.is_dir() {
        return Err(Usage(format!("{} is no folder", folder.display())).into());
    }
    if out.exists() {
        return Err(Usage(format!("{} is there already: name another file with --out", out.display())).into());
    }
    request_root_token(folder, out).with_context(|| format!("{}", out.display()))?;
    println!("{} has a token that may do everything, once the node has taken it", out.display());
    Ok(())
}

/// `role:prefix`, or a role that is about no keys.
fn parse_grant(text: &str) -> Result<Grant, String> {
    let (name, prefix) = text.split_once(':').map_or((text, None), |(name, prefix)| (name, Some(prefix)));
    let role = Role::ALL.into_iter().find(|role| role.name() == name);
    let role = role.ok_or("expected read:PREFIX, write:PREFIX, observe or admin")?;
    match (role, prefix) {
        (Role::Read | Role::Write, None) => Err(format!("expected {role}:PREFIX; `{role}:` is all keys")),
        (Role::Observe | Role::Admin, Some(_)) => Err(format!("`{role}` has no prefix")),
        (role, prefix) => Ok(Grant { role, prefix: prefix.unwrap_or_default().to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_roles_with_prefixes() {
        let read = |prefix: &str| Grant { role: Role::Read, prefix: prefix.into() };
        assert_eq!(parse_grant("read:a:b"), Ok(read("a:b")));
        assert_eq!(parse_grant("read:"), Ok(read("")));
        assert_eq!(parse_grant("admin").map(|grant| grant.to_string()), Ok("admin".into()));
        for wrong in ["read", "admin:a", "admin:", "delete:a", ""] {
            assert!(parse_grant(wrong).is_err(), "{wrong}");
        }
    }
}
