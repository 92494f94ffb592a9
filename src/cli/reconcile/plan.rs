//! `lockstep reconcile plan`.

use super::super::common_args::Target;
use super::super::exit::{NotReconciled, Usage};
use super::super::output::Output;
use super::records::sync_folder;
use super::sides::{self, Side};
use super::{PlanArgs, Tail};
use crate::cache::{Cache, Key};
use crate::lineage::Lineage;
use crate::raft::Noted;
use crate::reconcile::{
    Clock, Counts, Parting, PlanFooter, PlanHeader, PlanLine, PlanWriter, Policy, Rules, SideHeader, View,
    admit, plan as judge_all,
};
use crate::replica::wall_ms;
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::BufWriter;
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
    let incoming = sides::open(&args.from, target).await.with_context(|| args.from.clone())?;
    let live = sides::open(&live, target).await.with_context(|| live.clone())?;
    let parting = admit(incoming.log.position(), live.log.position()).map_err(NotReconciled::Refused)?;
    if args.tail == Tail::Take && rules.sums() && incoming.log.last_index > incoming.log.committed_index {
        let reason = "the end of the incoming log may come in again from another node's, and would be added twice: use \
                      --tail drop with sum-delta";
        return Err(Usage(reason.to_owned()).into());
    }
    let out = args.out.clone();
    let told =
        tokio::task::spawn_blocking(move || compare(&incoming, &live, parting, rules, args.tail, &out));
    let told = told.await??;
    let undecided = told.footer.counts.undecided;
    Output { json: target.json }.print(&told, || in_words(&told))?;
    if undecided > 0 { Err(NotReconciled::Conflicts(undecided).into()) } else { Ok(()) }
}

fn read_rules(file: &Path) -> Result<Rules> {
    let named = || format!("the rules in {}", file.display());
    serde_json::from_slice(&fs::read(file).with_context(named)?).with_context(named)
}

fn compare(
    incoming: &Side,
    live: &Side,
    parting: Parting,
    rules: Rules,
    tail: Tail,
    out: &Path,
) -> Result<Told> {
    let progress = spinner();
    let until = match tail {
        Tail::Take => incoming.log.last_index,
        Tail::Drop => incoming.log.committed_index,
    };
    progress.set_message("reading the incoming side");
    let sums = |key: &str| rules.of(key).policy == Policy::SumDelta;
    let theirs = state(incoming, parting, until, sums)?;
    progress.set_message("reading the side that goes on");
    let ours = state(live, parting, live.log.last_index, sums)?;
    // A side that does not run has no clock of its own: its log time is taken for the wall clock's.
    let (ahead_there, ahead_here) = (incoming.ahead_ms.unwrap_or(0), live.ahead_ms.unwrap_or(0));
    let shift_ms = ahead_here.saturating_sub(ahead_there);
    // Not this machine's clock, which may be another one's by a day.
    let now_ms = ours.cache.now_ms().max(theirs.cache.now_ms().saturating_add_signed(shift_ms));
    let fork_ms = ours.fork_ms.max(theirs.fork_ms.saturating_add_signed(shift_ms));
    let clock = |shift_ms| Clock { shift_ms, fork_ms, now_ms };
    // What was brought in before is not brought in again.
    let decided_until = merged_until(&ours.cache, &incoming.log.lineage);
    let their_view = View { decided_until, ..view(&theirs, parting, clock(shift_ms)) };
    let our_view = view(&ours, parting, clock(0));
    let header = PlanHeader {
        format: PlanHeader::format(),
        created_at_ms: wall_ms(),
        cluster_id: live.log.lineage.cluster_id().to_owned(),
        fork_index: parting.fork_index,
        live: side_header(live, &ours.cache, our_view.is_exact()),
        incoming: side_header(incoming, &theirs.cache, their_view.is_exact()),
        decided_until,
        up_to: until.min(incoming.log.committed_index),
        tail_entries: until.saturating_sub(incoming.log.committed_index),
        shift_ms,
        rules,
    };
    progress.set_message("comparing");
    let counter = |key: &Key| theirs.counters.get(key).or_else(|| ours.counters.get(key)).copied();
    let (footer, samples) = write(&header, their_view, our_view, counter, out, &progress)?;
    progress.finish_and_clear();
    Ok(Told { plan: out.to_owned(), header, footer, samples })
}

fn state(side: &Side, parting: Parting, until: u64, is_counter: impl Fn(&str) -> bool) -> Result<Noted> {
    let state = side.log.replay(parting.fork_index, parting.shared, until, is_counter);
    state.with_context(|| side.source.clone())
}

fn view(state: &Noted, parting: Parting, clock: Clock) -> View<'_> {
    let fork_index = parting.fork_index;
    View { cache: &state.cache, fork_index, decided_until: 0, fork: state.fork(), clock }
}

/// Up to which index of its log earlier merges have decided what a side did: in its own history, or in earlier ones up to
/// where it left them.
fn merged_until(live: &Cache, lineage: &Lineage) -> u64 {
    let histories = lineage.histories();
    let until = histories.iter().enumerate().map(|(at, history)| {
        let decided = live.decided_until(&history.id);
        histories.get(at + 1).map_or(decided, |next| decided.min(next.fork_index))
    });
    until.max().unwrap_or(0)
}

fn side_header(side: &Side, cache: &Cache, exact: bool) -> SideHeader {
    let history = side.log.lineage.current();
    let (history, number) = (history.id.clone(), history.number);
    SideHeader { source: side.source.clone(), history, number, index: cache.index(), exact }
}

fn write(
    header: &PlanHeader,
    incoming: View<'_>,
    live: View<'_>,
    counter: impl Fn(&Key) -> Option<i64>,
    out: &Path,
    progress: &ProgressBar,
) -> Result<(PlanFooter, Vec<PlanLine>)> {
    let mut samples = Vec::new();
    let footer = written_aside(out, |file| {
        let mut writer = PlanWriter::new(file, header)?;
        let counts = judge_all(incoming, live, &header.rules, counter, |proposal| {
            let stored = |view: View<'_>| view.cache.stored(proposal.key.as_str());
            let line = PlanLine::of(&proposal, stored(incoming).as_ref(), stored(live).as_ref());
            writer.line(&line)?;
            progress.inc(1);
            if line.case.is_conflict() && samples.len() < SAMPLES {
                samples.push(line);
            }
            Ok::<(), std::io::Error>(())
        })?;
        Ok(writer.finish(counts)?)
    })?;
    Ok((footer, samples))
}

/// Writes a plan aside, and gives it its name once it is on disk.
pub fn written_aside(
    out: &Path,
    write: impl FnOnce(BufWriter<File>) -> Result<(BufWriter<File>, PlanFooter)>,
) -> Result<PlanFooter> {
    let mut aside = out.as_os_str().to_owned();
    aside.push(".part");
    let aside = PathBuf::from(aside);
    let file = File::create(&aside).with_context(|| format!("cannot write {}", aside.display()))?;
    let (file, footer) = write(BufWriter::new(file))?;
    file.into_inner().map_err(|error| error.into_error())?.sync_all()?;
    fs::rename(&aside, out).with_context(|| format!("cannot write {}", out.display()))?;
    sync_folder(out)?;
    Ok(footer)
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
    let Counts { changes, proposed, won_by_live, won_by_incoming, set_aside, undecided, .. } = footer.counts;
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
    out
}
