//! `lockstep detach` and `lockstep attach`: a node leaves its cluster on purpose, and comes back.

use super::common_args::Target;
use super::output::Output;
use crate::api::{AttachProgress, DetachRequest, DetachStatus, ErrorCode};
use crate::client::{Client, ClientError, Comparison};
use crate::reconcile::Policy;
use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a node may be silent while it is opened again.
const SILENCE: Duration = Duration::from_secs(120);
/// How often a node is asked how far it is.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// How long the node itself waits before it says that something goes on.
const FIRST_ANSWER: Duration = Duration::from_secs(15);

#[derive(Debug, Args)]
pub struct DetachArgs {
    /// The URL of the node that is to leave [default: the first of --url]
    pub node: Option<String>,
    /// Where no majority answers: leave without asking the others, who count the node as a silent member then
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct AttachArgs {
    /// The URL of the node that is to come back [default: the first of --url]
    pub node: Option<String>,
    /// Who wins where both sides changed a key [default: what the node was started with]
    #[arg(long, value_enum)]
    pub policy: Option<Policy>,
    /// A JSON file with rules for prefixes of keys, instead of --policy
    #[arg(long, conflicts_with = "policy")]
    pub rules: Option<PathBuf>,
    /// URLs of members, separated by commas, if those that the node knows have moved
    #[arg(long, value_delimiter = ',')]
    pub cluster: Vec<String>,
    /// Only say what would become of the node's changes
    #[arg(long)]
    pub dry_run: bool,
    /// Once it is back, compare its keys with another member's, by digests of ranges
    #[arg(long, conflicts_with = "dry_run")]
    pub verify: bool,
    #[command(flatten)]
    pub target: Target,
}

fn client_of(node: Option<&String>, target: &Target) -> Result<Client> {
    let url = node.or(target.url.first()).context("no URL was given")?;
    let limit = target.timeout().max(FIRST_ANSWER);
    target.client_of(std::slice::from_ref(url), limit)
}

/// Runs `lockstep detach`.
pub async fn detach(args: DetachArgs) -> Result<()> {
    let client = client_of(args.node.as_ref(), &args.target)?;
    let mut status = client.detach(&DetachRequest { force: args.force }).await?;
    let until = Instant::now() + args.target.timeout();
    // It restarts on its own log meanwhile.
    while status.detached.is_none() {
        if Instant::now() >= until {
            bail!("the node is still about to leave; it goes on, and `lockstep status` says when it has");
        }
        sleep(POLL_INTERVAL).await;
        match client.detach_status().await {
            Ok(now) if now.detached.is_none() && !now.busy => {
                bail!("the node has not left its cluster; its log says why")
            }
            Ok(now) => status = now,
            Err(error) => tracing::debug!(%error, "no answer now"),
        }
    }
    let Some(detached) = &status.detached else { return Ok(()) };
    Output { json: args.target.json }.print(&status, || {
        format!(
            "it goes on alone in history {} after index {}; `lockstep attach` brings its changes in and the node back",
            detached.history, detached.fork_index
        )
    })
}

/// Runs `lockstep attach`.
pub async fn attach(args: AttachArgs) -> Result<()> {
    let client = client_of(args.node.as_ref(), &args.target)?;
    let rules = args.rules.as_ref().map(|file| -> Result<Value> {
        let named = || format!("the rules in {}", file.display());
        serde_json::from_slice(&fs::read(file).with_context(named)?).with_context(named)
    });
    let request = json!({
        "policy": args.policy,
        "rules": rules.transpose()?,
        "urls": args.cluster,
        "dry_run": args.dry_run,
    });
    let mut answer = client.attach(&request).await?;
    if answer.get("attached").is_none() {
        wait_until_attached(&client, args.dry_run).await?;
        answer = json!({"attached": true});
    }
    let output = Output { json: args.target.json };
    if !args.verify {
        return output.print(&answer, || in_words(&answer));
    }
    let (url, compared) = verify(&client, &args.target).await?;
    answer["verified"] = json!({"with": url, "keys": compared.keys, "differing": compared.differing, "is_cut": compared.is_cut});
    let Comparison { keys, differing, is_cut } = compared;
    output.print(&answer, || match differing.is_empty() {
        true => format!("{}; its {keys} keys are those of {url}", in_words(&answer)),
        false => in_words(&answer),
    })?;
    if let Some(first) = differing.first() {
        let least = if is_cut { "at least " } else { "" };
        bail!("it differs from {url} in {least}{} keys, the first of them {first:?}", differing.len());
    }
    Ok(())
}

/// Waits for a node that has begun to come back, and shows how far it is.
async fn wait_until_attached(client: &Client, dry_run: bool) -> Result<()> {
    let mut answered = Instant::now();
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template("{bar:40} {pos}/{len} keys")?);
    loop {
        sleep(POLL_INTERVAL).await;
        let told = match client.detach_status().await {
            // It is a member again.
            Ok(DetachStatus { detached: None, .. }) => break,
            Ok(told) => told,
            // It is opened again meanwhile, or has ended.
            Err(error) if answered.elapsed() > SILENCE => return Err(error.into()),
            Err(_) => continue,
        };
        answered = Instant::now();
        let AttachProgress { running, done, total, error } = told.attach;
        match (running, error) {
            (_, Some(error)) => bail!("{error}; the node goes on alone"),
            (false, None) if !told.busy && dry_run => {
                bail!("it took longer than the node waits for; nothing was changed")
            }
            (false, None) if !told.busy => bail!("it broke off; the node goes on alone: attach it again"),
            _ => {}
        }
        bar.set_length(total);
        bar.set_position(done);
    }
    bar.finish_and_clear();
    Ok(())
}

/// Compares the keys of a node with those of another member, whose URL is returned, too.
async fn verify(client: &Client, target: &Target) -> Result<(String, Comparison)> {
    let (until, limit) = (Instant::now() + SILENCE, target.timeout());
    loop {
        let compared = async {
            let (own, members) = (client.status().await?.node.id, client.members().await?.members);
            let others = members.into_iter().filter(|member| member.id != own && !member.http.is_empty());
            let Some(other) = others.max_by_key(|member| (member.role == "leader", member.voter)) else {
                return Ok(None);
            };
            let theirs = target.client_of(std::slice::from_ref(&other.http), limit)?;
            Ok::<_, anyhow::Error>(Some((other.http, client.compare(&theirs, "").await?)))
        };
        match compared.await {
            Ok(found) => return found.context("there is no other member to compare with"),
            Err(error) if Instant::now() < until && is_passing(&error) => sleep(POLL_INTERVAL).await,
            Err(error) => return Err(error.context("the node is a member again, but was not compared")),
        }
    }
}

/// Whether it may be over soon: a node that has just come back catches up first.
fn is_passing(error: &anyhow::Error) -> bool {
    let code = error.downcast_ref().map(ClientError::code);
    matches!(
        code,
        Some(ErrorCode::Unavailable | ErrorCode::OutcomeUnknown | ErrorCode::Busy | ErrorCode::RateLimited)
    )
}

fn in_words(answer: &Value) -> String {
    let number = |name: &str| answer[name].as_u64().unwrap_or(0);
    let counts = |name: &str| answer["counts"][name].as_u64().unwrap_or(0);
    if answer["attached"] != true {
        return format!(
            "it has changed {} keys; {} changes would be proposed, both sides changed {}",
            counts("changes"),
            counts("proposed"),
            counts("won_by_live") + counts("won_by_incoming") + counts("set_aside") + counts("undecided")
        );
    }
    if answer.get("done").is_none() {
        return "it is a member of its cluster again".to_owned();
    }
    let kept = match number("lost") {
        0 => String::new(),
        lost => format!("; {lost} lines in {}/*.losers.jsonl", answer["losers"].as_str().unwrap_or_default()),
    };
    format!("it is a member again: the cluster took {} of its changes{kept}", number("done"))
}
