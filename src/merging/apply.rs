//! Carries out a plan, in steps that are each applied once.
//!
//! Whatever loses is written to a file, and is on disk, before the step is sent that makes it lose. What became of each key is
//! written to another file. A few steps are under way at a time. A run that breaks off is continued by the next one: the plan is
//! cut into the same steps again, the cluster says which of them is due and what the newest ones did, and the two files are cut
//! back to that.

use super::records::{LockedFile, Records};
use super::steps::{Step, StepBuilder, loser_line};
use crate::api::{ErrorCode, MergeEndRequest, MergeStatus, MergeStepRequest};
use crate::cache::MergeResult;
use crate::cache::limits::MERGE_RESULTS_KEPT;
use crate::client::{Client, ClientError};
use crate::reconcile::{Action, PlanHeader, PlanLine, Side, read_actions, read_plan};
use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufReader, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

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
    let (header, footer) = read_actions(BufReader::new(&file), |action| {
        undecided += u64::from(action == Action::Decide);
        total += 1;
    })
    .with_context(unreadable)?;
    if undecided > 0 {
        return Err(Undecided(undecided).into());
    }
    belongs(&client, &header).await?;
    // Another member may answer the next request, and must not be one of another history.
    let client = Arc::new(Client::clone(&client).expecting(&header.live.history));
    let beside = |name: &str| {
        let mut path = plan.as_os_str().to_owned();
        path.push(name);
        PathBuf::from(path)
    };
    let (losers, applied) = (losers.unwrap_or_else(|| beside(".losers.jsonl")), beside(".applied.jsonl"));
    let merge = footer.plan_id;
    // First, so that no other run does anything between what the cluster says and what becomes of the files.
    let (losers_file, applied_file) = (LockedFile::open(&losers)?, LockedFile::open(&applied)?);
    let told = client.reconciliations().await?;
    let status = told.merges.into_iter().find(|status| status.id == merge);
    if status.is_none() {
        is_new(&header, &merge, &told.decided, &losers_file, &applied_file)?;
    }
    let due = status.as_ref().map_or(0, |merge| merge.next_step);
    if let Some(MergeStatus { end: Some(MergeEndRequest::Aborted), .. }) = &status {
        bail!("the merge was aborted; make a new plan");
    }
    let recent_results = status.as_ref().map(|merge| merge.recent_results.clone()).unwrap_or_default();
    let unrecorded = due.saturating_sub(recent_results.len() as u64);
    let mut run = Run {
        client,
        merge: merge.clone(),
        header: header.clone(),
        due,
        unrecorded,
        recent_results,
        ended: status.is_some_and(|merge| merge.end.is_some()),
        losers: losers_file.go_on(&merge, unrecorded..due)?,
        applied: applied_file.go_on(&merge, unrecorded..due)?,
        in_flight: VecDeque::new(),
        sent_before: None,
        overtaken: Arc::default(),
    };
    let mut lines = 0;
    progress(lines, total);
    // Reading and sending take turns: a plan may be larger than memory.
    let (sender, mut receiver) = mpsc::channel(1);
    // The same file, even if another one has its name by now.
    file.rewind().with_context(unreadable)?;
    let builder = StepBuilder::new(header, merge.clone());
    let reader = tokio::task::spawn_blocking(move || read_steps(file, builder, &sender));
    while let Some(step) = receiver.recv().await {
        lines += step.lines;
        run.send(step).await?;
        progress(lines, total);
    }
    reader.await??;
    run.finish().await?;

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

/// Whether a plan that the cluster does not know was never carried out. It remembers the newest merges alone, and a plan that it has
/// forgotten must not be taken for a new one: the files that tell what lost by it would be written anew.
fn is_new(
    header: &PlanHeader,
    merge: &str,
    decided: &BTreeMap<String, u64>,
    losers: &LockedFile,
    applied: &LockedFile,
) -> Result<()> {
    let is_as_then = |(history, then): (&String, &u64)| decided.get(history).unwrap_or(&0) == then;
    if !header.decided.iter().all(is_as_then) {
        bail!("another merge of that history has ended since the plan was made; make a new plan");
    }
    // Of the first step there may be losers, if it was not sent any more.
    if applied.last_step(merge)?.is_some() || losers.last_step(merge)?.is_some_and(|step| step > 0) {
        bail!(
            "the plan was carried out, wholly or in part, and the cluster does not know that merge any more; its files stay as \
             they are; make a new plan"
        );
    }
    Ok(())
}

async fn status(client: &Client, merge: &str) -> Result<Option<MergeStatus>, ClientError> {
    Ok(client.reconciliations().await?.merges.into_iter().find(|status| status.id == merge))
}

/// Puts the steps of a plan together, and hands them on.
fn read_steps(file: File, mut builder: StepBuilder, steps: &mpsc::Sender<Step>) -> Result<()> {
    let send = |step| steps.blocking_send(step).map_err(|_| io::Error::other("the steps cannot be sent"));
    read_plan(BufReader::new(file), |_, line| match builder.add(line).map_err(io::Error::other)? {
        Some(step) => send(step),
        None => Ok(()),
    })?;
    Ok(send(builder.finish())?)
}

/// A plan that is being carried out.
struct Run {
    client: Arc<Client>,
    merge: String,
    header: PlanHeader,
    /// The step that was due when the run began; steps before it were applied by an earlier run.
    due: u64,
    /// The first of those steps that the earlier run may not have written down.
    unrecorded: u64,
    /// What they did.
    recent_results: Vec<Vec<MergeResult>>,
    ended: bool,
    losers: Records,
    applied: Records,
    /// Steps that are not answered yet. The cluster remembers the results of as many, so that a run that breaks off can still
    /// get them.
    in_flight: VecDeque<Sent>,
    /// Tells when the step that was sent last has been applied.
    sent_before: Option<oneshot::Receiver<()>>,
    /// Whether a step came before its turn since this was looked at.
    overtaken: Arc<AtomicBool>,
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
    with_op: Vec<PlanLine>,
    results: JoinHandle<Result<Vec<MergeResult>>>,
}

impl Run {
    /// Sends a step, unless an earlier run did.
    async fn send(&mut self, step: Step) -> Result<()> {
        let Step { request, with_op, losers, .. } = step;
        let number = request.step;
        if number < self.unrecorded {
            return Ok(());
        }
        let lose = |records: &mut Records| {
            losers.split_inclusive(|byte| *byte == b'\n').try_for_each(|line| records.write(line))
        };
        if number < self.due {
            lose(&mut self.losers)?;
            // The earlier run may not have received them.
            let results = std::mem::take(&mut self.recent_results[(number - self.unrecorded) as usize]);
            return self.record(number, &with_op, results);
        }
        if self.ended {
            bail!("the merge was ended before all of the plan was carried out");
        }
        // The first step takes longer than others. And once a request has overtaken another, those after it would, too.
        let alone = number == self.due + 1 || self.overtaken.swap(false, Ordering::Relaxed);
        let room = if alone { 0 } else { MERGE_RESULTS_KEPT - 1 };
        while self.in_flight.len() > room {
            self.settle().await?;
        }
        // Only now: where there are losers of a later step than the first, the first was carried out.
        lose(&mut self.losers)?;
        // Before the step is sent, what it makes lose must be on disk, and so must the results that the cluster forgets by it.
        self.losers.sync()?;
        self.applied.sync()?;
        let (applied, sent_before) = oneshot::channel();
        let before = self.sent_before.replace(sent_before);
        let overtaken = self.overtaken.clone();
        let results = tokio::spawn(deliver(self.client.clone(), request, before, applied, overtaken));
        self.in_flight.push_back(Sent { number, with_op, results });
        Ok(())
    }

    /// Waits for the answer to the oldest step that is not answered, and writes down what became of each key.
    async fn settle(&mut self) -> Result<()> {
        let Some(Sent { number, with_op, results }) = self.in_flight.pop_front() else { return Ok(()) };
        let results = results.await??;
        self.record(number, &with_op, results)
    }

    /// Waits for all answers.
    async fn finish(&mut self) -> Result<()> {
        while !self.in_flight.is_empty() {
            self.settle().await?;
        }
        self.losers.sync()?;
        self.applied.sync()
    }

    fn record(&mut self, number: u64, with_op: &[PlanLine], results: Vec<MergeResult>) -> Result<()> {
        if with_op.len() != results.len() {
            bail!("step {number} of the merge was not of this plan");
        }
        let mut text = Vec::new();
        for (line, result) in with_op.iter().zip(results) {
            // What a client has written meanwhile stays.
            if result != MergeResult::Done {
                text.clear();
                let (header, merge, why) = (&self.header, &self.merge, why_not(result));
                loser_line(header, merge, number, line, Side::Incoming, why, &mut text)?;
                self.losers.write(&text)?;
            }
            text.clear();
            let (merge, key, action) = (self.merge.as_str(), line.key.as_str(), line.action);
            serde_json::to_writer(&mut text, &AppliedLine { merge, step: number, key, action, result })?;
            text.push(b'\n');
            self.applied.write(&text)?;
        }
        Ok(())
    }
}

/// Sends a step, and returns what it did. `before` tells when the step before it has been applied, `applied` is told
/// about this one, and `overtaken` if it came before its turn.
async fn deliver(
    client: Arc<Client>,
    step: MergeStepRequest,
    before: Option<oneshot::Receiver<()>>,
    applied: oneshot::Sender<()>,
    overtaken: Arc<AtomicBool>,
) -> Result<Vec<MergeResult>> {
    let mut answer = client.merge_step(&step).await;
    // A request can overtake the one before it. Nothing was done then, and its turn comes.
    if answer.as_ref().is_err_and(|error| error.code() == ErrorCode::Conflict)
        && let Some(before) = before
        && before.await.is_ok()
    {
        overtaken.store(true, Ordering::Relaxed);
        answer = client.merge_step(&step).await;
    }
    let results = match answer {
        Ok(answer) => answer.results,
        Err(error) => {
            // Applied or not: the cluster knows.
            let known = status(&client, &step.merge).await.ok().flatten();
            match known.and_then(|merge| results_of(merge, step.step)) {
                Some(results) => results,
                None if error.code() == ErrorCode::Conflict => {
                    return Err(anyhow!(error).context(format!("step {} was not carried out", step.step)));
                }
                None => {
                    return Err(
                        anyhow!(error).context(format!("step {}; run the same command again", step.step))
                    );
                }
            }
        }
    };
    // Nobody listens after the last step.
    let _ = applied.send(());
    Ok(results)
}

/// What a step did, if it was applied and is among the newest ones.
fn results_of(mut merge: MergeStatus, step: u64) -> Option<Vec<MergeResult>> {
    let from_the_end = usize::try_from(merge.next_step.checked_sub(step)?).ok()?;
    let position = merge.recent_results.len().checked_sub(from_the_end)?;
    (position < merge.recent_results.len()).then(|| merge.recent_results.swap_remove(position))
}

fn why_not(result: MergeResult) -> &'static str {
    match result {
        MergeResult::Done => "done",
        MergeResult::Changed => "changed_meanwhile",
        MergeResult::Full => "full",
        MergeResult::Invalid => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merging::steps::tests::header;
    use std::io::Write;

    /// A merge that was aborted, and forgotten then, is found in the files of its plan.
    #[test]
    fn a_plan_is_new_if_its_files_know_no_step_that_was_sent() {
        let decided = BTreeMap::from([("h".to_owned(), 0), ("earlier".to_owned(), 7)]);
        let header = PlanHeader { decided, ..header() };
        let then = BTreeMap::from([("earlier".to_owned(), 7), ("other".to_owned(), 99)]);
        let is_new_with = |losers: &str, applied: &str, decided: &BTreeMap<String, u64>| {
            let folder = tempfile::tempdir().expect("a folder");
            let file = |name: &str, text: &str| {
                let path = folder.path().join(name);
                File::create(&path).and_then(|mut file| file.write_all(text.as_bytes())).expect("written");
                LockedFile::open(&path).expect("nobody else has it")
            };
            is_new(&header, "m", decided, &file("losers", losers), &file("applied", applied)).is_ok()
        };
        let line = |step: u64| format!("{{\"merge\":\"m\",\"step\":{step}}}\n");
        assert!(is_new_with("", "", &then));
        assert!(is_new_with(&line(0), "", &then), "of a step that was not sent");
        assert!(is_new_with("{\"merge\":\"m\",\"st", "", &then), "cut short");
        assert!(!is_new_with(&[line(0), line(1)].concat(), "", &then));
        assert!(!is_new_with("", &line(0), &then));
        for (history, until) in [("h", 3), ("earlier", 8)] {
            let mut later = then.clone();
            later.insert(history.to_owned(), until);
            assert!(!is_new_with("", "", &later), "{history}");
        }
    }
}
