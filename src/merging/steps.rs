//! Cuts a plan into steps: what each asks the cluster to do, and what is lost by it. That depends on the plan alone, so that a
//! second run makes the same steps.

use crate::api::{
    MergeChangeRequest, MergeEndRequest, MergeGuardRequest, MergeOpRequest, MergeStepRequest,
    MergeTimesRequest,
};
use crate::cache::limits::BATCH_OPS_MAX;
use crate::reconcile::{Action, BaseState, Case, Guard, KeyState, PlanHeader, PlanLine, Side, Written};
use anyhow::{Context, Result, bail};
use serde::Serialize;

/// About how many bytes a step's request has: a node takes 2 MiB.
const STEP_BYTES: usize = 1024 * 1024;
/// What an operation takes beside key and value, about.
const OP_OVERHEAD_BYTES: usize = 256;
/// Most operations in a step. Of half as many as a node takes, each costs the same, and clients that read meanwhile wait less.
const STEP_OPS_MAX: usize = BATCH_OPS_MAX / 2;
/// Most lines of a plan in a step: many may be about keys that stay as they are.
const STEP_LINES_MAX: u64 = 4 * STEP_OPS_MAX as u64;
/// About how many bytes the values in a step's lines have, those included that are not sent: a few steps are in memory at a time.
const STEP_VALUES_BYTES: usize = 8 * 1024 * 1024;

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
    /// Of the request, about.
    bytes: usize,
    /// Of all values in its lines.
    values_bytes: usize,
}

impl StepBuilder {
    /// For the plan with this header and id.
    pub fn new(header: PlanHeader, merge: String) -> Self {
        let step = empty(&header, &merge, 0);
        Self { header, merge, step, bytes: 0, values_bytes: 0 }
    }

    /// Adds a line. Returns the step before it if the line is the first of another one.
    ///
    /// # Errors
    /// The line does not say what to do.
    pub fn add(&mut self, line: PlanLine) -> Result<Option<Step>> {
        let (bytes, values_bytes) = (bytes_of(&line), values_bytes_of(&line));
        let is_full = self.step.with_op.len() >= STEP_OPS_MAX
            || self.step.lines >= STEP_LINES_MAX
            || self.bytes + bytes > STEP_BYTES
            || self.values_bytes + values_bytes > STEP_VALUES_BYTES;
        let full = is_full.then(|| self.take());
        self.bytes += bytes;
        self.values_bytes += values_bytes;
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
        (self.bytes, self.values_bytes) = (0, 0);
        std::mem::replace(&mut self.step, next)
    }
}

fn empty(header: &PlanHeader, merge: &str, number: u64) -> Step {
    let request = MergeStepRequest {
        merge: merge.to_owned(),
        history: header.incoming.history.clone(),
        step: number,
        after: header.decided.get(&header.incoming.history).copied().unwrap_or(0),
        planned_at: header.live.index,
        ops: Vec::new(),
        end: None,
    };
    Step { request, with_op: Vec::new(), losers: Vec::new(), lines: 0 }
}

fn bytes_of(line: &PlanLine) -> usize {
    let value = match (line.action, line.to_store()) {
        (Action::Put, Some(written)) => value_bytes_of(written),
        _ => 0,
    };
    OP_OVERHEAD_BYTES + line.key.as_str().len() + value
}

fn values_bytes_of(line: &PlanLine) -> usize {
    let base = match &line.base {
        BaseState::Present(written) => Some(written),
        BaseState::Absent | BaseState::Unknown => None,
    };
    let all = [base, line.live.written(), line.incoming.written(), line.decided.as_ref()];
    all.into_iter().flatten().map(value_bytes_of).sum()
}

fn value_bytes_of(written: &Written) -> usize {
    written.value.as_ref().or(written.value_base64.as_ref()).map_or(0, String::len)
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
        _ if line.case == Case::LeftOut => "left_out",
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::reconcile::{Rules, SideHeader};
    use std::collections::BTreeMap;

    fn side(number: u64) -> SideHeader {
        let (source, history) = (String::new(), format!("h{number}"));
        SideHeader { source, history, number, index: 9, exact: true }
    }

    pub fn header() -> PlanHeader {
        PlanHeader {
            format: PlanHeader::format(),
            created_at_ms: 0,
            cluster_id: "c".into(),
            fork_index: 1,
            live: side(2),
            incoming: side(1),
            decided_until: 0,
            decided: BTreeMap::new(),
            up_to: 9,
            tail_entries: 0,
            left_out_entries: 0,
            shift_ms: 0,
            rules: Rules::default(),
        }
    }

    fn builder() -> StepBuilder {
        StepBuilder::new(header(), "m".into())
    }

    /// A conflict that live wins, so that nothing is sent, or that incoming wins.
    fn line(number: usize, action: Action, bytes: usize) -> PlanLine {
        let written = |revision| Written {
            revision,
            version: 1,
            stamp_ms: 1,
            expires_at_ms: None,
            sliding_ms: 0,
            content_type: None,
            value: Some("v".repeat(bytes)),
            value_base64: None,
        };
        PlanLine {
            key: crate::cache::Key::new(&format!("key{number}")).expect("a key"),
            case: crate::reconcile::Case::ChangedTwice,
            action,
            guard: Guard::Revision(7),
            loser: Some(if action == Action::Keep { Side::Incoming } else { Side::Live }),
            set_aside: false,
            both_lose: false,
            base: BaseState::Present(written(1)),
            live: KeyState::Changed(written(7)),
            incoming: KeyState::Changed(written(8)),
            decided: None,
        }
    }

    fn steps_of(lines: impl Iterator<Item = PlanLine>) -> Vec<Step> {
        let mut builder = builder();
        let mut steps: Vec<Step> =
            lines.filter_map(|line| builder.add(line).expect("it says what to do")).collect();
        steps.push(builder.finish());
        let numbers: Vec<u64> = steps.iter().map(|step| step.request.step).collect();
        assert_eq!(numbers, (0..steps.len() as u64).collect::<Vec<_>>());
        assert!(steps.iter().rev().skip(1).all(|step| step.request.end.is_none()), "the last one ends it");
        steps
    }

    #[test]
    fn a_step_is_bounded_whatever_its_lines_do() {
        for (action, bytes) in
            [(Action::Keep, 1), (Action::Keep, 500_000), (Action::Put, 1), (Action::Put, 500_000)]
        {
            let count = if bytes == 1 { 5_000 } else { 40 };
            let steps = steps_of((0..count).map(|number| line(number, action, bytes)));
            let lines: u64 = steps.iter().map(|step| step.lines).sum();
            assert_eq!(lines, count as u64, "{action:?}, {bytes} bytes");
            assert!(steps.len() > 1, "{action:?}, {bytes} bytes: it has several steps");
            for step in &steps {
                let losers = step.losers.iter().filter(|byte| **byte == b'\n').count();
                assert_eq!(losers as u64, step.lines, "each line has a loser");
                assert!(step.losers.len() < STEP_VALUES_BYTES, "{} bytes of losers", step.losers.len());
                assert!(step.request.ops.len() <= STEP_OPS_MAX);
                assert!(serde_json::to_vec(&step.request).expect("JSON").len() < 2 * STEP_BYTES);
                assert_eq!(step.with_op.len(), step.request.ops.len());
            }
        }
    }
}
