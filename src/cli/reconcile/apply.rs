//! `lockstep reconcile apply`.

use super::super::common_args::Target;
use super::super::output::Output;
use crate::merging::{self, Applied};
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Runs the command.
pub async fn apply(plan: &Path, losers: Option<PathBuf>, target: &Target) -> Result<()> {
    let client = target.client_of(&target.url, target.timeout())?;
    let client = Arc::new(client.allowing_detached(target.allow_detached));
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} keys, {per_sec}, {eta} left")?;
    let bar = ProgressBar::new(0).with_style(style);
    let progress = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let told = merging::apply(client, plan, losers, &progress).await?;
    let total = bar.length().unwrap_or(0);
    bar.finish_and_clear();
    Output { json: target.json }.print(&told, || {
        let Applied { done, changed, full, invalid, lost, .. } = told;
        let mut words = format!("{} of {total} keys: {done} changed as planned", plan.display());
        if changed + full + invalid > 0 {
            words += &format!(
                "; {changed} had been changed meanwhile, {full} did not fit, {invalid} were refused: live stays"
            );
        }
        words + &format!("\n{lost} lines in {}\n{}", told.losers.display(), told.applied.display())
    })
}
