//! `lockstep reconcile decide`: a plan with decisions about its conflicts.

use super::super::exit::Usage;
use super::super::output::Output;
use crate::merging::{Undecided, written_aside};
use crate::reconcile::{Case, Decision, PlanLine, PlanWriter, Settled, read_plan};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

/// Runs the command.
pub fn decide(plan: &Path, decisions: &Path, out: &Path, json: bool) -> Result<()> {
    let mut left = read_decisions(decisions).with_context(|| decisions.display().to_string())?;
    if out.try_exists()? {
        return Err(Usage(format!("{} is there already", out.display())).into());
    }
    let unreadable = || plan.display().to_string();
    let open = || File::open(plan).map(BufReader::new).with_context(unreadable);
    let (header, footer) = read_plan(open()?, |_, _| Ok(())).with_context(unreadable)?;
    let footer = written_aside(out, |file| {
        let mut writer = PlanWriter::new(file, &header)?;
        let mut counts = footer.counts;
        read_plan(open()?, |_, mut line| {
            // What is left out has a line of its own, after all others, and comes back from the file of losers alone.
            let is_counted = line.case != Case::LeftOut;
            if let Some(decision) = is_counted.then(|| left.remove(line.key.as_str())).flatten() {
                let before = Settled::from(&line);
                is_about(&decision, &line).map_err(io::Error::other)?;
                line.decide(decision.choice).map_err(io::Error::other)?;
                counts.decided(before, Settled::from(&line));
            }
            writer.line(&line)
        })?;
        match left.keys().next() {
            Some(key) => Err(Usage(format!("the plan has no key {key:?}")).into()),
            None => Ok(writer.finish(counts)?),
        }
    })?;
    Output { json }.print(&footer, || {
        let counts = &footer.counts;
        format!("{}: {} changes are proposed; plan {}", out.display(), counts.proposed, footer.plan_id)
    })?;
    match footer.counts.undecided {
        0 => Ok(()),
        undecided => Err(Undecided(undecided).into()),
    }
}

/// Whether a decision was made about the values that the plan has.
fn is_about(decision: &Decision, line: &PlanLine) -> Result<(), String> {
    match !line.case.is_conflict() || decision.is_about(line) {
        true => Ok(()),
        false => {
            let key = line.key.as_str();
            Err(format!(
                "{key:?} was decided for other values than the plan has: look at them, and decide again"
            ))
        }
    }
}

fn read_decisions(file: &Path) -> Result<BTreeMap<String, Decision>> {
    let mut decided = BTreeMap::new();
    for (line, number) in BufReader::new(File::open(file)?).lines().zip(1..) {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let decision: Decision = serde_json::from_str(&line).with_context(|| format!("line {number}"))?;
        let key = decision.key.as_str().to_owned();
        if decided.contains_key(&key) {
            return Err(Usage(format!("line {number}: {key:?} is decided twice")).into());
        }
        decided.insert(key, decision);
    }
    Ok(decided)
}
