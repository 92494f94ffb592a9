//! `lockstep reconcile show`.

use super::super::exit::NoSuchKey;
use super::super::output::Output;
use super::plan::describe;
use crate::reconcile::{Action, BaseState, KeyState, PlanLine, Side, Written, read_plan};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// Runs the command.
pub fn show(plan: &Path, key: Option<&str>, json: bool) -> Result<()> {
    let unreadable = || format!("{}", plan.display());
    let file = File::open(plan).with_context(unreadable)?;
    let output = Output { json };
    // One that the end of a log changed, which is left out, has two.
    let mut found = Vec::new();
    let (header, footer) = read_plan(BufReader::new(file), |_, line| {
        match key {
            Some(key) if key == line.key.as_str() => found.push(line),
            Some(_) => {}
            None if json => println!("{}", serde_json::to_string(&line)?),
            None => println!("{}", line_in_words(&line)),
        }
        Ok(())
    })
    .with_context(unreadable)?;
    match key {
        None => output.print(&footer, || {
            format!(
                "{}\n{} changes are proposed; plan {}",
                describe(&header),
                footer.counts.proposed,
                footer.plan_id
            )
        }),
        Some(key) if found.is_empty() => Err(NoSuchKey(key.to_owned()).into()),
        Some(_) => found.iter().try_for_each(|line| output.print(line, || key_in_words(line))),
    }
}

/// One line about a key.
pub fn line_in_words(line: &PlanLine) -> String {
    let done = match line.action {
        Action::Keep if line.set_aside => "incoming is set aside",
        Action::Keep => "live stays",
        Action::Put => "incoming is taken",
        Action::Remove => "is removed",
        Action::Bury => "stays removed",
        Action::SetLifetime => "gets incoming's lifetime",
        Action::Add(_) => "is added to",
        Action::Decide => "waits for a decision",
    };
    let case = serde_json::to_value(line.case).unwrap_or_default();
    let case = case.as_str().unwrap_or_default().replace('_', " ");
    let lost = match line.loser {
        Some(Side::Live) => ", and live's is lost",
        Some(Side::Incoming) if !line.set_aside => ", and incoming's is lost",
        _ => "",
    };
    format!("{:?}: {case}; {done}{lost}", line.key.as_str())
}

fn key_in_words(line: &PlanLine) -> String {
    format!(
        "{}\n  base      {}\n  live      {}\n  incoming  {}",
        line_in_words(line),
        base(&line.base),
        state(&line.live),
        state(&line.incoming)
    )
}

fn base(state: &BaseState) -> String {
    match state {
        BaseState::Present(written) => entry(written),
        BaseState::Absent => "not there".to_owned(),
        BaseState::Unknown => "not known".to_owned(),
    }
}

fn state(state: &KeyState) -> String {
    match state {
        KeyState::Unchanged(written) => format!("as at the fork: {}", entry(written)),
        KeyState::Changed(written) => format!("changed: {}", entry(written)),
        KeyState::Deleted { stamp_ms } => format!("removed at {stamp_ms}"),
        KeyState::Lost { stamp_ms } => format!("changed at {stamp_ms}, then evicted or expired"),
        KeyState::Absent => "not there".to_owned(),
        KeyState::Unknown => "not there, for a reason that is not known".to_owned(),
    }
}

fn entry(written: &Written) -> String {
    let value = match (&written.value, &written.value_base64) {
        (Some(text), _) => format!("{text:?}"),
        (_, Some(encoded)) => format!("base64 {encoded}"),
        _ => String::new(),
    };
    let expires = written.expires_at_ms.map_or_else(String::new, |at| format!(", expires at {at}"));
    format!("{value} at {}, revision {}{expires}", written.stamp_ms, written.revision)
}
