//! `lockstep reconcile plan`.

use super::super::common_args::Target;
use super::super::exit::Usage;
use super::super::output::Output;
use super::PlanArgs;
use crate::merging::{self, Planned, Side, Tail, Undecided};
use crate::reconcile::{Counts, PlanFooter, PlanHeader, PlanLine, Rules, SideHeader};
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How many conflicts the summary names.
const SAMPLES: usize = 5;

/// What the command prints.
#[derive(Debug, Serialize)]
struct Told {
    plan: PathBuf,
    #[serde(flatten)]
    header: PlanHeader,
    #[serde(flatten)]
    footer: PlanFooter,
    /// Some of the keys that both sides changed.
    samples: Vec<PlanLine>,
}

/// Runs the command.
pub async fn plan(args: PlanArgs, target: &Target) -> Result<()> {
    let rules = match &args.rules {
        Some(file) => read_rules(file)?,
        None => Rules::all(args.policy),
    };
    if !args.force && args.out.try_exists()? {
        return Err(Usage(format!("{} is there already; --force replaces it", args.out.display())).into());
    }
    let live = args.live.clone().unwrap_or_else(|| target.url.join(","));
    // The side that comes back may be a node that is detached.
    let mut incoming = open(&args.from, true, target).await.with_context(|| args.from.clone())?;
    if let Some(base) = &args.base {
        incoming = incoming.with_base(base).await.with_context(|| base.display().to_string())?;
    }
    let live = open(&live, target.allow_detached, target).await.with_context(|| live.clone())?;
    if args.tail == Tail::Take && rules.sums() && incoming.log.last_index > incoming.log.committed_index {
        let reason = "the end of the incoming log may come in again from another node's, and would be added twice: use \
                      --tail drop with sum-delta";
        return Err(Usage(reason.to_owned()).into());
    }
    let out = args.out.clone();
    let planning = tokio::task::spawn_blocking(move || {
        let shown = spinner();
        let progress = |doing: &'static str, proposals| {
            shown.set_message(doing);
            shown.set_position(proposals);
        };
        let planned = merging::plan(&incoming, &live, rules, &(), args.tail, &out, &progress);
        shown.finish_and_clear();
        planned
    });
    let Planned { header, footer, mut samples } = planning.await??;
    samples.truncate(SAMPLES);
    let told = Told { plan: args.out, header, footer, samples };
    let undecided = told.footer.counts.undecided;
    Output { json: target.json }.print(&told, || in_words(&told))?;
    if undecided > 0 { Err(Undecided(undecided).into()) } else { Ok(()) }
}

/// A folder, a backup, or the nodes at URLs.
async fn open(source: &str, allow_detached: bool, target: &Target) -> Result<Side> {
    if !source.starts_with("http://") && !source.starts_with("https://") {
        return Side::of_file(Path::new(source)).await;
    }
    let urls: Vec<String> = source.split(',').map(str::to_owned).collect();
    let client = target.client_of(&urls, target.timeout())?;
    Side::of_cluster(&client.allowing_detached(allow_detached), source, &std::env::temp_dir()).await
}

fn read_rules(file: &Path) -> Result<Rules> {
    let named = || format!("the rules in {}", file.display());
    serde_json::from_slice(&fs::read(file).with_context(named)?).with_context(named)
}

fn spinner() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} {pos} {elapsed}");
    let progress = ProgressBar::new_spinner();
    if let Ok(style) = style {
        progress.set_style(style);
    }
    progress.enable_steady_tick(Duration::from_millis(100));
    progress
}

fn in_words(told: &Told) -> String {
    let Told { plan, header, footer, samples } = told;
    let Counts { changes, proposed, won_by_live, won_by_incoming, set_aside, undecided, left_out, .. } =
        footer.counts;
    let mut out = String::new();
    // Writing to a string does not fail.
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    line(describe(header));
    line(format!("{changes} keys were changed there since; {proposed} changes are proposed"));
    line(format!(
        "both sides changed {}: live keeps {won_by_live}, incoming wins {won_by_incoming}, {set_aside} are set aside, \
         {undecided} wait for a decision",
        won_by_live + won_by_incoming + set_aside + undecided
    ));
    if left_out > 0 {
        line(format!(
            "entries that are left out changed {left_out}: apply writes them to the file of losers"
        ));
    }
    for sample in samples {
        line(format!("  {}", super::show::line_in_words(sample)));
    }
    let _ = write!(out, "{}: plan {}", plan.display(), footer.plan_id);
    out
}

/// What is compared, in a few lines.
pub fn describe(header: &PlanHeader) -> String {
    let side = |side: &SideHeader| {
        let exact = if side.exact { "" } else { "; it does not know why keys are absent" };
        format!("{} (history {}, up to index {}{exact})", side.source, side.number, side.index)
    };
    let mut out = format!(
        "live      {}\nincoming  {}\nforked after index {}",
        side(&header.live),
        side(&header.incoming),
        header.fork_index
    );
    if header.tail_entries > 0 {
        // Writing to a string does not fail.
        let _ = write!(
            out,
            "; {} entries of incoming are not known to be committed (--tail drop leaves them out)",
            header.tail_entries
        );
    }
    if header.left_out_entries > 0 {
        let _ = write!(
            out,
            "; {} entries of incoming are not known to be committed and are left out: some may have been acknowledged",
            header.left_out_entries
        );
    }
    out
}
