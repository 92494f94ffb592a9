//! Brings a detached node back into its cluster: first its changes, then the node itself, as a new member.
//!
//! The changes come in as those of any other side do, by a plan and in steps. While clients go on writing to the node, what
//! they have written since is brought in by another pass. For the last one the node takes no writes. Only then, with
//! everything decided, does its folder change: whenever an attempt breaks off before, the node goes on alone as it was, and
//! the next attempt brings in what is left.

use super::apply::{Applied, Undecided, apply};
use super::plan::{Planned, Tail, plan};
use super::sides::Side;
use crate::api::{AttachProgress, Detachment, ErrorCode, MemberStatus, MergeEndRequest, MergeStatus};
use crate::client::{Client, ClientError, ClientToken};
use crate::lineage::HistoryKind;
use crate::node::{Attaching, Node, NodeError};
use crate::reconcile::{Counts, Decision, PlanLine, Policy, Refusal, Resolver, Rules, read_plan};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How many log entries the node may have had since the last pass for the next one to be the last.
const FEW_ENTRIES: u64 = 1_024;
/// At most so many passes, the last one included. Who writes faster than it is brought in has to wait in the end.
const PASSES_MAX: usize = 4;
/// How long a request to the cluster may take; a backup of a large one takes a while.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// How long a request may take that only asks how the cluster is.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);
/// A member that has been silent for longer is not asked to add the node.
const SILENT_MS_MAX: u64 = 1_000;

/// Body of `POST /v1/attach`; everything is optional.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttachRequest {
    /// Who wins where both sides changed a key.
    pub policy: Option<Policy>,
    /// Rules for prefixes of keys, instead of a policy.
    pub rules: Option<Rules>,
    /// What becomes of conflicts, by key, whatever the rules say.
    pub decisions: Vec<Decision>,
    /// URLs of members, if those that the node knows have moved.
    pub urls: Vec<String>,
    /// Only compare.
    pub dry_run: bool,
}

/// What became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Attached {
    /// Whether the node is about to come back.
    pub attached: bool,
    pub passes: usize,
    /// What was compared in the last pass, by kind.
    pub counts: Counts,
    /// Some of the keys that both sides changed, as they would be decided; of a dry run only.
    pub conflicts: Vec<PlanLine>,
    /// Operations of all passes by what became of them.
    pub done: u64,
    pub changed: u64,
    pub full: u64,
    pub invalid: u64,
    /// Lines in the files of losers, which are in this folder.
    pub lost: u64,
    pub losers: PathBuf,
}

/// Brings a detached node back. When this returns, the node goes: see [`Node::reopens`]. Conflicts that `request` does not decide are
/// `resolver`'s to decide, and the rules' after it. `progress` is told how far it is.
///
/// # Errors
/// [`NodeError::Conflict`]: it is not detached, or on its way. [`Undecided`], with the plan in the node's folder. Otherwise the
/// cluster does not answer, or refuses. The node goes on alone then, and can be attached later.
pub async fn attach(
    node: &Node,
    request: AttachRequest,
    default: Policy,
    resolver: Arc<dyn Resolver>,
    progress: &watch::Sender<AttachProgress>,
) -> Result<Attached> {
    let attaching = node.begin_to_attach()?;
    progress.send_replace(AttachProgress { running: true, ..AttachProgress::default() });
    let mut sent = false;
    let attached = bring_in(node, &attaching, request, (default, resolver), progress, &mut sent).await;
    let attached = attached.map_err(|error| match sent && !error.is::<Undecided>() {
        true => error.context(MayHaveMerged),
        false => error,
    });
    let error = attached.as_ref().err().map(|error| format!("{error:#}"));
    progress.send_replace(AttachProgress { running: false, error, ..AttachProgress::default() });
    let attached = attached?;
    if attached.attached {
        let Attached { done, lost, losers, .. } = &attached;
        tracing::info!(done, lost, losers = %losers.display(), "this node comes back into its cluster");
        attaching.go();
    }
    Ok(attached)
}

/// It broke off after something was sent.
#[derive(Debug, thiserror::Error)]
#[error("some of the node's changes may have come in, and the others come in with the next attempt")]
struct MayHaveMerged;

/// A cluster, and where a detached node keeps what it needs to be merged into it.
struct Target {
    client: Arc<Client>,
    folder: PathBuf,
    rules: Rules,
    resolver: Arc<dyn Resolver>,
}

async fn bring_in(
    node: &Node,
    attaching: &Attaching,
    request: AttachRequest,
    (default, resolver): (Policy, Arc<dyn Resolver>),
    progress: &watch::Sender<AttachProgress>,
    sent: &mut bool,
) -> Result<Attached> {
    let AttachRequest { policy, rules, decisions, urls, dry_run } = request;
    let Some(detachment) = node.detachment() else { bail!("this node is not detached from its cluster") };
    let rules = rules.unwrap_or_else(|| Rules::all(policy.unwrap_or(default)));
    let urls = if urls.is_empty() { detachment.urls.clone() } else { urls };
    // Whoever sends the request must not have the token sent to a place of their own.
    let is_known = urls.iter().all(|url| detachment.urls.contains(url));
    let token = node
        .token()
        .filter(|_| is_known)
        .as_ref()
        .map(ClientToken::new)
        .transpose()
        .map_err(NodeError::Invalid)?;
    let client = |limit| {
        let client = Client::with_tls(&urls, limit, node.client_tls()).map_err(invalid)?;
        Ok::<_, NodeError>(client.with_token(token.clone()))
    };
    let asking = || client(QUESTION_TIMEOUT);
    // Before anything large is sent: is there anybody?
    let live = asking()?.lineage().await.context("the cluster does not answer")?;
    if live.lineage.current().kind == HistoryKind::Detached {
        let reason = "the node that answers has left the cluster itself: name a member with `urls`";
        return Err(NodeError::Conflict(reason.into()).into());
    }
    // Another member may answer the next request, and must not be one of another history.
    let history = live.lineage.current().id.clone();
    let client = client(REQUEST_TIMEOUT)?.expecting(&history);
    let asking = asking()?.expecting(&history);
    joining_url(attaching, &asking).await?;
    let folder = node.data_dir().join("reconcile").join(&detachment.history);
    fs::create_dir_all(&folder).with_context(|| format!("cannot write {}", folder.display()))?;
    let decisions = decisions.into_iter().map(|decision| (decision.key.as_str().to_owned(), decision));
    let decisions: BTreeMap<String, Decision> = decisions.collect();
    let resolver = Arc::new((Arc::new(decisions), resolver));
    let target = Target { client: Arc::new(client), folder, rules, resolver };
    let mut all = Attached {
        attached: false,
        passes: 0,
        counts: Counts::default(),
        conflicts: Vec::new(),
        done: 0,
        changed: 0,
        full: 0,
        invalid: 0,
        lost: 0,
        losers: target.folder.clone(),
    };
    if !dry_run {
        attaching.announce().await?;
        target.finish_broken_off(&detachment, &mut all, progress, sent, &history).await?;
    }
    // How much the node has changed since the last pass, or since it left.
    let mut entries = detachment.entries;
    loop {
        // How much of a sum came in before, nobody knows, so sums come in at once.
        let is_last = entries <= FEW_ENTRIES || all.passes + 1 >= PASSES_MAX || target.rules.sums();
        if is_last && !dry_run {
            attaching.freeze().await;
        }
        let (planned, file, until) = target.plan(node).await?;
        (all.counts, all.passes) = (planned.footer.counts.clone(), all.passes + 1);
        if dry_run {
            fs::remove_file(file)?;
            all.conflicts = planned.samples;
            return Ok(all);
        }
        target.apply(&file, &mut all, progress, sent).await?;
        if is_last {
            break;
        }
        entries = node.detach_status().detached.map_or(0, |now| now.entries).saturating_sub(until);
    }
    // The number that the node had must not be a member any more: the new one has its name and its addresses.
    if let Some(former) = attaching.former_id()
        && asking.members().await?.members.iter().any(|member| member.id == former)
    {
        asking.remove(former).await.context("the cluster still counts this node as a member")?;
    }
    let url = joining_url(attaching, &asking).await?;
    attaching.become_new(&history, &url).await?;
    all.attached = true;
    Ok(all)
}

/// The URL of a member that is up.
///
/// # Errors
/// There is none, or another member has this node's name or addresses.
async fn joining_url(attaching: &Attaching, asking: &Client) -> Result<String> {
    let members = asking.members().await?.members;
    let (name, http, peer) = attaching.own_record();
    let others = members.iter().filter(|member| Some(member.id) != attaching.former_id());
    for other in others.clone() {
        if other.name == name || other.peer == peer || (!http.is_empty() && other.http == http) {
            let reason =
                format!("member {} of the cluster has this node's name or addresses now", other.name);
            return Err(NodeError::Conflict(reason).into());
        }
    }
    let is_up = |member: &&MemberStatus| {
        let answers = member.silent_ms.is_some_and(|silent| silent < SILENT_MS_MAX);
        !member.http.is_empty() && (member.role == "leader" || answers)
    };
    let found = others.clone().find(is_up).context("no member of the cluster is up that has a URL")?;
    Ok(found.http.clone())
}

/// The row of the error table that an error of [`attach`] belongs to. Whatever failed, the node goes on alone.
pub fn attach_error(error: &anyhow::Error) -> ErrorCode {
    let of_cluster = error.downcast_ref().map(ClientError::code);
    let of_node = error.downcast_ref().map(NodeError::code);
    match of_cluster.or(of_node) {
        _ if error.is::<MayHaveMerged>() => ErrorCode::OutcomeUnknown,
        // What the cluster refused is another request than the client's.
        Some(ErrorCode::Conflict | ErrorCode::NotFound | ErrorCode::OtherHistory) => ErrorCode::Conflict,
        Some(ErrorCode::InvalidBody) => ErrorCode::InvalidBody,
        None if error.is::<Undecided>() || error.is::<Refusal>() => ErrorCode::Conflict,
        _ => ErrorCode::Unavailable,
    }
}

fn invalid(reason: String) -> NodeError {
    NodeError::Invalid(format!("urls: {reason}"))
}

impl Target {
    /// Compares what the node has with what the cluster has. Returns the plan, its file, and how many entries the node had had.
    async fn plan(&self, node: &Node) -> Result<(Planned, PathBuf, u64)> {
        let status = node.status().await;
        let snapshot = node.snapshot().await?;
        let begun = node.lineage().current().start_index;
        let until = snapshot.index.saturating_sub(begun);
        let (name, folder) = (node.name().to_owned(), node.data_dir().to_owned());
        let reading = tokio::task::spawn_blocking(move || {
            Side::of_node(snapshot, &name, &folder, status.log_time_ahead_ms)
        });
        let incoming = reading.await??;
        let live = Side::of_cluster(&self.client, "the cluster", &self.folder).await?;
        let (rules, resolver) = (self.rules.clone(), self.resolver.clone());
        let out = self.folder.join("plan.jsonl");
        let planning = tokio::task::spawn_blocking(move || {
            let planned = plan(&incoming, &live, rules, &*resolver, Tail::Take, &out, &|_, _| {})?;
            // Its name is its id, so that it is found again if applying it breaks off.
            let named = out.with_file_name(format!("{}.jsonl", planned.footer.plan_id));
            fs::rename(&out, &named)?;
            Ok::<_, anyhow::Error>((planned, named))
        });
        let (planned, named) = planning.await??;
        Ok((planned, named, until))
    }

    async fn apply(
        &self,
        plan: &Path,
        all: &mut Attached,
        progress: &watch::Sender<AttachProgress>,
        sent: &mut bool,
    ) -> Result<()> {
        *sent = true;
        let tell = |done, total| {
            progress.send_if_modified(|told| {
                (told.done, told.total) = (done, total);
                true
            });
        };
        let applied = match apply(self.client.clone(), plan, None, &tell).await {
            Err(error) if error.is::<Undecided>() => {
                return Err(error.context(format!(
                    "decide them with `lockstep reconcile decide {}`, apply the new plan, and attach the node again",
                    plan.display()
                )));
            }
            applied => applied?,
        };
        let Applied { done, changed, full, invalid, lost, losers, applied, .. } = applied;
        (all.done, all.changed) = (all.done + done, all.changed + changed);
        (all.full, all.invalid, all.lost) = (all.full + full, all.invalid + invalid, all.lost + lost);
        // What was taken is in the cluster. What was not is kept.
        if lost == 0 {
            fs::remove_file(losers)?;
        }
        fs::remove_file(applied)?;
        Ok(fs::remove_file(plan)?)
    }

    /// Whether a plan is for this history of the cluster.
    fn is_for(plan: &Path, history: &str) -> Result<bool> {
        let (header, _) = read_plan(BufReader::new(File::open(plan)?), |_, _| Ok(()))?;
        Ok(header.live.history == history)
    }

    /// Finishes what an earlier attempt had begun.
    async fn finish_broken_off(
        &self,
        detachment: &Detachment,
        all: &mut Attached,
        progress: &watch::Sender<AttachProgress>,
        sent: &mut bool,
        history: &str,
    ) -> Result<()> {
        let merges = self.client.reconciliations().await?.merges;
        for found in fs::read_dir(&self.folder)? {
            let path = found?.path();
            if path.is_dir() {
                // A backup that was being compared.
                fs::remove_dir_all(path)?;
                continue;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some(id) = name.strip_suffix(".jsonl").filter(|id| !id.contains('.')) else { continue };
            match merges.iter().find(|merge| merge.id == id) {
                Some(MergeStatus { end: Some(MergeEndRequest::Aborted), .. }) => fs::remove_file(&path)?,
                // The cluster was recovered since: what is left is planned anew.
                Some(_) if !Self::is_for(&path, history)? => fs::remove_file(&path)?,
                Some(_) => self.apply(&path, all, progress, sent).await?,
                // It was not begun, or is long over, and the sides have changed since. Files of losers stay in any case.
                None => fs::remove_file(&path)?,
            }
        }
        let merges = self.client.reconciliations().await?.merges;
        let mut open = merges.iter().filter(|merge| merge.end.is_none());
        if let Some(open) = open.find(|merge| merge.history == detachment.history) {
            bail!(
                "a merge of this node's changes was begun elsewhere: finish it, or give it up with `lockstep reconcile abort {}`",
                open.id
            );
        }
        Ok(())
    }
}
