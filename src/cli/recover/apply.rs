//! `lockstep recover apply`.

use super::super::exit::Usage;
use super::super::output::Output;
use super::plan::read_plan;
use crate::node::{Recovered, recover_folder};
use anyhow::{Context, Result};
use serde_json::json;
use std::path::Path;

/// How many characters of a plan's id have to be typed.
const CONFIRMED_MIN: usize = 8;

/// How a plan is carried out.
pub struct Options {
    pub confirm: String,
    pub join: Option<String>,
    pub serve_now: bool,
}

/// Carries a plan out on one folder.
pub async fn apply(plan: &Path, folder: &Path, options: Options, json: bool) -> Result<()> {
    let Options { confirm, join, serve_now } = options;
    let (plan, id) = read_plan(plan)?;
    if confirm.len() < CONFIRMED_MIN || !id.starts_with(&confirm) {
        let reason = format!("--confirm: the plan's id begins with {}", &id[..CONFIRMED_MIN]);
        return Err(Usage(reason).into());
    }
    let (number, history) = (plan.lineage.current().number, plan.lineage.current().id.clone());
    let ended = plan.ended_history().map_err(anyhow::Error::msg)?;
    let aside = folder.join("aside").join(&ended.id);
    let done = {
        let folder = folder.to_owned();
        let working = move || recover_folder(&plan, &folder, join.as_deref(), serve_now);
        tokio::task::spawn_blocking(working).await?
    };
    let done = done.with_context(|| format!("cannot recover {}", folder.display()))?;
    let word = match done {
        Recovered::Seed => "seed",
        Recovered::Joins => "joins",
        Recovered::Already => "already",
    };
    Output { json }.print(
        &json!({"folder": folder, "done": word, "history": history, "aside": aside}),
        || {
            let what = match done {
                Recovered::Seed => format!("is the start of history {number}"),
                Recovered::Joins => format!("is empty; its node joins history {number}"),
                Recovered::Already => "was recovered already".to_owned(),
            };
            format!(
                "{} {what}; what it held is in {}\nstart the node with the command line that it had",
                folder.display(),
                aside.display()
            )
        },
    )
}
