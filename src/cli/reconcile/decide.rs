//! `lockstep reconcile decide`: a plan with decisions about its conflicts.

use super::super::exit::Usage;
use super::super::output::Output;
use crate::merging::{Undecided, written_aside};
use crate::reconcile::{Choice, Decision, PlanWriter, read_plan};
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
            if let Some(choice) = left.remove(line.key.as_str()) {
                let before = line.clone();
                line.decide(choice).map_err(io::Error::other)?;
                counts.decided(&before, &line);
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

fn read_decisions(file: &Path) -> Result<BTreeMap<String, Choice>> {
    let mut decided = BTreeMap::new();
    for (line, number) in BufReader::new(File::open(file)?).lines().zip(1..) {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let Decision { key, choice, .. } =
            serde_json::from_str(&line).with_context(|| format!("line {number}"))?;
        if decided.insert(key.as_str().to_owned(), choice).is_some() {
            return Err(Usage(format!("line {number}: {:?} is decided twice", key.as_str())).into());
        }
    }
    Ok(decided)
}
