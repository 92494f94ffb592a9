//! Carries out a plan, in steps that are each applied once.
//!
//! Whatever loses is written to a file, and is on disk, before the step is sent that makes it lose. What became of each key is
//! written to another file. A run that breaks off is continued by the next one: the plan is cut into the same steps again, the
//! cluster says which of them is due and what the newest one did, and the two files are cut back to that.

use super::records::Records;
use crate::api::{
    ErrorCode, MergeChangeRequest, MergeEndRequest, MergeGuardRequest, MergeOpRequest, MergeStatus,
    MergeStepRequest, MergeTimesRequest,
};
use crate::cache::MergeResult;
use crate::cache::limits::BATCH_OPS_MAX;
use crate::client::{Client, ClientError};
use crate::reconcile::{Action, Guard, KeyState, PlanHeader, PlanLine, Side, Written, read_plan};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufReader, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// About how many bytes a step's request has: a node takes 2 MiB.
const STEP_BYTES: usize = 1024 * 1024;
/// What an operation takes beside key and value, about.
const OP_OVERHEAD_BYTES: usize = 256;

/// What became of a plan.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Applied {
    /// The plan's id, which names the merge.
    pub merge: String,
    pub steps: u64,
    /// Operations by what became of them.
    pub done: u64,
    pub changed: u64,
    pub full: u64,
    pub invalid: u64,
    /// Lines in the file of losers.
    pub lost: u64,
    pub losers: PathBuf,
    pub applied: PathBuf,
}

/// Conflicts of a plan that a person has to decide. Nothing was done.
#[derive(Debug, thiserror::Error)]
#[error("{0} conflicts are left to decide")]
pub struct Undecided(pub u64);

/// Carries out a plan on the cluster. What loses goes to `losers`, by default a file beside the plan. `progress` is told how many
/// of how many keys are done. If it breaks off, the next call goes on.
///
/// # Errors
/// [`Undecided`], [`ClientError`]; the plan is not for this cluster, or the merge was ended; or a file cannot be read or written.
pub async fn apply(
    client: Arc<Client>,
    plan: &Path,
    losers: Option<PathBuf>,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Applied> {
    let unreadable = || format!("{}", plan.display());
    // Once to its end, so that nothing of a plan is carried out that is not whole.
    let (mut total, mut undecided) = (0_u64, 0_u64);
    let mut file = File::open(plan).with_context(unreadable)?;
    let (header, footer) = read_plan(BufReader::new(&file), |_, line| {
        undecided += u64::from(line.action == Action::Decide);
        total += 1;
        Ok(())
    })
    .with_context(unreadable)?;
    if undecided > 0 {
        return Err(Undecided(undecided).into());
    }
    belongs(&client, &header).await?;
    let beside = |name: &str| {
        let mut path = plan.as_os_str().to_owned();
        path.push(name);
        PathBuf::from(path)
    };
    let (losers, applied) = (losers.unwrap_or_else(|| beside(".losers.jsonl")), beside(".applied.jsonl"));
    let merge = footer.plan_id;
    let status = status(&client, &merge).await?;
    let due = status.as_ref().map_or(0, |merge| merge.next_step);
    if let Some(MergeStatus { end: Some(MergeEndRequest::Aborted), .. }) = &status {
        bail!("the merge was aborted; make a new plan");
    }
    let mut run = Run {
        client,
        merge: merge.clone(),
        header: header.clone(),
        due,
        last_results: status.as_ref().map(|merge| merge.last_results.clone()).unwrap_or_default(),
        ended: status.is_some_and(|merge| merge.end.is_some()),
        losers: Records::open(&losers, &merge, due)?,
        applied: Records::open(&applied, &merge, due)?,
        step: Step::default(),
        sent: None,
        number: 0,
    };
    let mut lines = 0;
    progress(lines, total);
    // Reading and sending take turns: a plan may be larger than memory.
    let (sender, mut receiver) = tokio::sync::mpsc::channel(BATCH_OPS_MAX);
    // The same file, even if another one has its name by now.
    file.rewind().with_context(unreadable)?;
    let reader = tokio::task::spawn_blocking(move || {
        read_plan(BufReader::new(file), |_, line| {
            sender.blocking_send(line).map_err(|_| io::Error::other("the steps cannot be sent"))
        })
    });
    while let Some(line) = receiver.recv().await {
        if run.step.is_full_with(&line) {
            run.send(None).await?;
        }
        run.step.add(line)?;
        lines += 1;
        progress(lines, total);
    }
    reader.await??;
    run.send(Some(MergeEndRequest::UpTo(header.up_to))).await?;
    run.settle().await?;
    run.sync()?;

    let status =
        self::status(&run.client, &merge).await?.context("the cluster does not know the merge any more")?;
    let MergeStatus { next_step: steps, done, changed, full, invalid, .. } = status;
    let lost = run.losers.lines();
    Ok(Applied { merge, steps, done, changed, full, invalid, lost, losers, applied })
}

/// Whether this is the cluster that the plan calls live.
async fn belongs(client: &Client, header: &PlanHeader) -> Result<()> {
    let lineage = client.lineage().await?.lineage;
    let here = lineage.current();
    if lineage.cluster_id() != header.cluster_id || here.id != header.live.history {
        bail!(
            "the plan is for history {} ({}), and this cluster's is {} ({})",
            header.live.number,
            header.live.history,
            here.number,
            here.id
        );
    }
    Ok(())
}

async fn status(client: &Client, merge: &str) -> Result<Option<MergeStatus>, ClientError> {
    Ok(client.reconciliations().await?.merges.into_iter().find(|status| status.id == merge))
}

/// What is sent together.
#[derive(Debug, Default)]
struct Step {
    lines: Vec<PlanLine>,
    ops: usize,
    bytes: usize,
}

impl Step {
    /// Depends on the plan alone, so that a second run makes the same steps.
    fn is_full_with(&self, line: &PlanLine) -> bool {
        let bytes = bytes_of(line);
        self.ops >= BATCH_OPS_MAX || self.lines.len() >= 4 * BATCH_OPS_MAX || self.bytes + bytes > STEP_BYTES
    }

    fn add(&mut self, line: PlanLine) -> Result<()> {
        self.bytes += bytes_of(&line);
        self.ops += usize::from(op_of(&line)?.is_some());
        self.lines.push(line);
        Ok(())
    }
}

fn bytes_of(line: &PlanLine) -> usize {
    let value = match (line.action, line.to_store()) {
        (Action::Put, Some(written)) => {
            written.value.as_ref().or(written.value_base64.as_ref()).map_or(0, String::len)
        }
        _ => 0,
    };
    OP_OVERHEAD_BYTES + line.key.as_str().len() + value
}

/// A plan that is being carried out.
struct Run {
    client: Arc<Client>,
    merge: String,
    header: PlanHeader,
    /// The step that was due when the run began; steps before it were applied by an earlier run.
    due: u64,
    /// What the step before that did.
    last_results: Vec<MergeResult>,
    ended: bool,
    losers: Records,
    applied: Records,
    step: Step,
    sent: Option<Sent>,
    /// The number of the step that is being put together.
    number: u64,
}

/// A line of the file of losers.
#[derive(Debug, Serialize)]
struct Loser<'a> {
    merge: &'a str,
    step: u64,
    key: &'a str,
    /// Whose change did not come to be.
    side: Side,
    /// Id of that side's history.
    history: &'a str,
    why: &'a str,
    #[serde(flatten)]
    state: &'a KeyState,
}

/// A line of the file of what was done.
#[derive(Debug, Serialize)]
struct AppliedLine<'a> {
    merge: &'a str,
    step: u64,
    key: &'a str,
    action: Action,
    result: MergeResult,
}

/// A step that was sent, and is not answered yet.
struct Sent {
    number: u64,
    planned: Planned,
    results: JoinHandle<Result<Vec<MergeResult>>>,
}

/// The lines of a step, each with its operation if it has one.
type Planned = Vec<(PlanLine, Option<MergeOpRequest>)>;

impl Run {
    /// Sends what was put together, unless an earlier run did. The answer is taken when the next step has been put together.
    async fn send(&mut self, end: Option<MergeEndRequest>) -> Result<()> {
        let Step { lines, .. } = std::mem::take(&mut self.step);
        let number = self.number;
        self.number += 1;
        let planned: Planned =
            lines.into_iter().map(|line| op_of(&line).map(|op| (line, op))).collect::<Result<_>>()?;
        if number + 1 < self.due {
            return Ok(());
        }
        self.settle().await?;
        for (line, _) in &planned {
            for side in line.losers() {
                self.lose(number, line, side, reason(line))?;
            }
        }
        self.sync()?;
        if number < self.due {
            // The earlier run may not have received them.
            let results = std::mem::take(&mut self.last_results);
            return self.record(number, &planned, results);
        }
        if self.ended {
            bail!("the merge was ended before all of the plan was carried out");
        }
        let request = MergeStepRequest {
            merge: self.merge.clone(),
            history: self.header.incoming.history.clone(),
            step: number,
            after: self.header.decided_until,
            ops: planned.iter().filter_map(|(_, op)| op.clone()).collect(),
            end,
        };
        let results = tokio::spawn(deliver(self.client.clone(), request));
        self.sent = Some(Sent { number, planned, results });
        Ok(())
    }

    /// Waits for the answer to the step that was sent last, and writes down what became of each key.
    async fn settle(&mut self) -> Result<()> {
        let Some(Sent { number, planned, results }) = self.sent.take() else { return Ok(()) };
        let results = results.await??;
        self.record(number, &planned, results)
    }

    fn record(&mut self, number: u64, planned: &Planned, results: Vec<MergeResult>) -> Result<()> {
        let with_op = planned.iter().filter(|(_, op)| op.is_some());
        if with_op.clone().count() != results.len() {
            bail!("step {number} of the merge was not of this plan");
        }
        for ((line, _), result) in with_op.zip(results) {
            // What a client has written meanwhile stays.
            if result != MergeResult::Done {
                self.lose(number, line, Side::Incoming, why_not(result))?;
            }
            let key = line.key.as_str();
            self.applied.write(&AppliedLine {
                merge: &self.merge,
                step: number,
                key,
                action: line.action,
                result,
            })?;
        }
        Ok(())
    }

    /// Before a step is sent, what it makes lose must be on disk, and what became of those before: the cluster remembers the
    /// results of the newest step only.
    fn sync(&mut self) -> Result<()> {
        self.losers.sync()?;
        self.applied.sync()
    }

    fn lose(&mut self, step: u64, line: &PlanLine, side: Side, why: &str) -> Result<()> {
        let (state, history) = match side {
            Side::Live => (&line.live, &self.header.live.history),
            Side::Incoming => (&line.incoming, &self.header.incoming.history),
        };
        self.losers.write(&Loser {
            merge: &self.merge,
            step,
            key: line.key.as_str(),
            side,
            history,
            why,
            state,
        })
    }
}

/// Sends a step, and returns what it did.
async fn deliver(client: Arc<Client>, step: MergeStepRequest) -> Result<Vec<MergeResult>> {
    match client.merge_step(&step).await {
        Ok(answer) => Ok(answer.results),
        Err(error) => {
            // Applied or not: the cluster knows.
            let status = status(&client, &step.merge).await;
            match status {
                Ok(Some(status)) if status.next_step == step.step + 1 => Ok(status.last_results),
                _ if error.code() == ErrorCode::Conflict => {
                    Err(anyhow::Error::new(error).context(format!("step {} was not carried out", step.step)))
                }
                _ => Err(anyhow::Error::new(error)
                    .context(format!("step {}; run the same command again", step.step))),
            }
        }
    }
}

fn reason(line: &PlanLine) -> &'static str {
    match (line.set_aside, line.loser) {
        _ if line.both_lose => "decided",
        (true, _) => "set_aside",
        (false, Some(Side::Live)) => "incoming_won",
        (false, _) => "live_won",
    }
}

fn why_not(result: MergeResult) -> &'static str {
    match result {
        MergeResult::Done => "done",
        MergeResult::Changed => "changed_meanwhile",
        MergeResult::Full => "full",
        MergeResult::Invalid => "refused",
    }
}

/// The operation that a line asks for, if it does.
fn op_of(line: &PlanLine) -> Result<Option<MergeOpRequest>> {
    let guard = match line.guard {
        Guard::Absent => MergeGuardRequest::Absent,
        Guard::Revision(revision) => MergeGuardRequest::Revision(revision),
    };
    let malformed = || format!("{:?}: the plan does not say what to do", line.key.as_str());
    let written = || line.incoming.written().with_context(malformed);
    let gone_at = || match line.incoming {
        KeyState::Deleted { stamp_ms } | KeyState::Lost { stamp_ms } => Ok(stamp_ms),
        // Removed on request, because the other side does not know why it is absent.
        KeyState::Unknown => Ok(0),
        // Somebody decided so.
        KeyState::Changed(_) => Ok(line.incoming.stamp_ms().max(line.live.stamp_ms())),
        _ => bail!(malformed()),
    };
    let (guard, change) = match line.action {
        Action::Keep | Action::Decide => return Ok(None),
        Action::Put => {
            let stored = line.to_store().with_context(malformed)?;
            let Written { value, value_base64, content_type, .. } = stored.clone();
            let times = times_of(stored);
            (guard, MergeChangeRequest::Put { value, value_base64, content_type, times })
        }
        Action::Remove => (guard, MergeChangeRequest::Remove { at_ms: gone_at()? }),
        Action::Bury => (guard, MergeChangeRequest::Bury { at_ms: gone_at()? }),
        Action::SetLifetime => (guard, MergeChangeRequest::SetTimes(times_of(written()?))),
        // Whatever clients have added meanwhile, too.
        Action::Add(by) => (MergeGuardRequest::Present, MergeChangeRequest::Add { by }),
    };
    Ok(Some(MergeOpRequest { key: line.key.as_str().to_owned(), guard, change }))
}

fn times_of(written: &Written) -> MergeTimesRequest {
    MergeTimesRequest {
        at_ms: written.stamp_ms,
        version: u32::try_from(written.version).unwrap_or(u32::MAX),
        expires_at_ms: written.expires_at_ms,
        sliding_ms: written.sliding_ms,
    }
}
