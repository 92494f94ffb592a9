//! Cuts a plan into steps: what each asks the cluster to do, and what is lost by it. That depends on the plan alone, so that a
//! second run makes the same steps.

use crate::api::{
    MergeChangeRequest, MergeEndRequest, MergeGuardRequest, MergeOpRequest, MergeStepRequest,
    MergeTimesRequest,
};
use crate::cache::limits::BATCH_OPS_MAX;
use crate::reconcile::{Action, Guard, KeyState, PlanHeader, PlanLine, Side, Written};
use anyhow::{Context, Result, bail};
use serde::Serialize;

/// About how many bytes a step's request has: a node takes 2 MiB.
const STEP_BYTES: usize = 1024 * 1024;
/// What an operation takes beside key and value, about.
const OP_OVERHEAD_BYTES: usize = 256;
/// Most lines of a plan in a step: many may be about keys that stay as they are.
const STEP_LINES_MAX: u64 = 4 * BATCH_OPS_MAX as u64;

/// What is sent together.
pub struct Step {
    pub request: MergeStepRequest,
    /// The lines that the operations are of.
    pub with_op: Vec<PlanLine>,
    /// Lines for the file of losers, which must be on disk before the step is sent.
    pub losers: Vec<u8>,
    /// How many lines of the plan it carries out.
    pub lines: u64,
}

/// Puts the steps together.
pub struct StepBuilder {
    header: PlanHeader,
    merge: String,
    step: Step,
    bytes: usize,
}

impl StepBuilder {
    /// For the plan with this header and id.
    pub fn new(header: PlanHeader, merge: String) -> Self {
        let step = empty(&header, &merge, 0);
        Self { header, merge, step, bytes: 0 }
    }

    /// Adds a line. Returns the step before it if the line is the first of another one.
    ///
    /// # Errors
    /// The line does not say what to do.
    pub fn add(&mut self, line: PlanLine) -> Result<Option<Step>> {
        let bytes = bytes_of(&line);
        let is_full = self.step.with_op.len() >= BATCH_OPS_MAX
            || self.step.lines >= STEP_LINES_MAX
            || self.bytes + bytes > STEP_BYTES;
        let full = is_full.then(|| self.take());
        self.bytes += bytes;
        self.step.lines += 1;
        for side in line.losers() {
            let number = self.step.request.step;
            loser_line(&self.header, &self.merge, number, &line, side, reason(&line), &mut self.step.losers)?;
        }
        if let Some(op) = op_of(&line)? {
            self.step.request.ops.push(op);
            self.step.with_op.push(line);
        }
        Ok(full)
    }

    /// The last step, which ends the merge.
    pub fn finish(mut self) -> Step {
        let mut last = self.take();
        last.request.end = Some(MergeEndRequest::UpTo(self.header.up_to));
        last
    }

    fn take(&mut self) -> Step {
        let next = empty(&self.header, &self.merge, self.step.request.step + 1);
        self.bytes = 0;
        std::mem::replace(&mut self.step, next)
    }
}

fn empty(header: &PlanHeader, merge: &str, number: u64) -> Step {
    let request = MergeStepRequest {
        merge: merge.to_owned(),
        history: header.incoming.history.clone(),
        step: number,
        after: header.decided_until,
        ops: Vec::new(),
        end: None,
    };
    Step { request, with_op: Vec::new(), losers: Vec::new(), lines: 0 }
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

/// Adds the line about what a side loses to `out`.
///
/// # Errors
/// None: it is always JSON.
pub fn loser_line(
    header: &PlanHeader,
    merge: &str,
    step: u64,
    line: &PlanLine,
    side: Side,
    why: &str,
    out: &mut Vec<u8>,
) -> Result<()> {
    let (state, history) = match side {
        Side::Live => (&line.live, &header.live.history),
        Side::Incoming => (&line.incoming, &header.incoming.history),
    };
    let key = line.key.as_str();
    serde_json::to_writer(&mut *out, &Loser { merge, step, key, side, history, why, state })?;
    out.push(b'\n');
    Ok(())
}

fn reason(line: &PlanLine) -> &'static str {
    match (line.set_aside, line.loser) {
        _ if line.both_lose => "decided",
        (true, _) => "set_aside",
        (false, Some(Side::Live)) => "incoming_won",
        (false, _) => "live_won",
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
