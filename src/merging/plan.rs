//! Compares two sides and writes down what would be done with each key. It changes neither.

use super::records::sync_folder;
use super::sides::Side;
use crate::cache::{Cache, Key, Merge, Stored};
use crate::lineage::{History, HistoryKind, Lineage, fork_index};
use crate::raft::Noted;
use crate::reconcile::{
    Base, Clock, KeyState, Merged, Parting, PlanFooter, PlanHeader, PlanLine, PlanWriter, Proposal, Resolver,
    Rules, Settled, SideHeader, View, admit, changed_by_both, left_out, plan as judge_all,
};
use crate::replica::wall_ms;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

/// How many conflicts a summary names, and about how many bytes they take at most.
const SAMPLES: usize = 100;
const SAMPLES_BYTES: usize = 1024 * 1024;

/// What becomes of the end of a log, of which it is not known whether it is committed. Some of it may have been acknowledged; who
/// wrote the rest was told nothing, or that the outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Tail {
    /// Its entries count
    Take,
    /// They do not: what they changed is set aside
    Drop,
}

/// A plan that was written.
#[derive(Debug)]
pub struct Planned {
    pub header: PlanHeader,
    pub footer: PlanFooter,
    /// Some of the keys that both sides changed.
    pub samples: Vec<PlanLine>,
}

/// Compares what `incoming` did since the sides parted with what `live` did, and writes a plan to `out`. `resolver` is asked about
/// conflicts before the rules are. `progress` is told what is being done, and how many proposals there are so far.
/// Blocks.
///
/// # Errors
/// [`crate::reconcile::Refusal`], or the sides cannot be read, or the plan cannot be written.
pub fn plan(
    incoming: &Side,
    live: &Side,
    rules: Rules,
    resolver: &dyn Resolver,
    tail: Tail,
    out: &Path,
    progress: &dyn Fn(&'static str, u64),
) -> Result<Planned> {
    let parting = admit(incoming.log.position(), live.log.position())?;
    let until = match tail {
        Tail::Take => incoming.log.last_index,
        Tail::Drop => incoming.log.committed_index,
    };
    progress("reading the incoming side", 0);
    let mut theirs = state(incoming, &live.log.lineage, parting, until)?;
    let their_bases = std::mem::take(&mut theirs.bases);
    progress("reading the side that goes on", 0);
    let last = incoming.log.last_index;
    let whole = (until < last).then(|| state(incoming, &live.log.lineage, parting, last)).transpose()?;
    let mut ours = state(live, &incoming.log.lineage, parting, live.log.last_index)?;
    let our_bases = std::mem::take(&mut ours.bases);
    // A side that does not run has no clock of its own: its log time is taken for the wall clock's.
    let (ahead_there, ahead_here) = (incoming.ahead_ms.unwrap_or(0), live.ahead_ms.unwrap_or(0));
    let shift_ms = ahead_here.saturating_sub(ahead_there);
    // Not this machine's clock, which may be another one's by a day.
    let now_ms = ours.cache.now_ms().max(theirs.cache.now_ms().saturating_add_signed(shift_ms));
    let fork_ms = ours.fork_ms.max(theirs.fork_ms.saturating_add_signed(shift_ms));
    let clock = |shift_ms| Clock { shift_ms, fork_ms, now_ms };
    // What was brought in before is not brought in again.
    let decided_until = merged_until(&ours.cache, &incoming.log.lineage, parting.fork_index);
    let their_view = View { decided_until, ..view(&theirs, parting, clock(shift_ms)) };
    let merged = merged_before(&ours.cache, &incoming.log.lineage);
    let our_view = View { merged: Some(&merged), ..view(&ours, parting, clock(0)) };
    let whole_view =
        whole.as_ref().map(|whole| View { decided_until, ..view(whole, parting, clock(shift_ms)) });
    let is_decided = |history: &History| (history.id.clone(), ours.cache.decided_until(&history.id));
    let header = PlanHeader {
        format: PlanHeader::format(),
        created_at_ms: wall_ms(),
        cluster_id: live.log.lineage.cluster_id().to_owned(),
        fork_index: parting.fork_index,
        live: side_header(live, &ours.cache, our_view.is_exact()),
        incoming: side_header(incoming, &theirs.cache, their_view.is_exact()),
        decided_until,
        decided: own_histories(&incoming.log.lineage, parting.fork_index).map(is_decided).collect(),
        up_to: until.min(incoming.log.committed_index),
        tail_entries: until.saturating_sub(incoming.log.committed_index),
        left_out_entries: last.saturating_sub(until),
        shift_ms,
        rules,
    };
    progress("comparing", 0);
    let wanted = changed_by_both(their_view, our_view);
    let sides = [(incoming, their_bases), (live, our_bases)];
    let base = base(sides, parting, wanted)?;
    let views = Views { incoming: their_view, whole: whole_view.map(|whole| (whole, until)), live: our_view };
    let (footer, samples) = write(&header, views, &base, resolver, out, progress)?;
    Ok(Planned { header, footer, samples })
}

fn state(side: &Side, other: &Lineage, parting: Parting, until: u64) -> Result<Noted> {
    let state = side.log.replay(parting.fork_index, parting.shared, other, until);
    state.with_context(|| side.source.clone())
}

/// What both sides had under these keys when they parted, as far as that can still be found: in the logs, and otherwise in a
/// snapshot of that moment.
fn base(
    sides: [(&Side, BTreeMap<Key, Option<Stored>>); 2],
    parting: Parting,
    keys: Vec<Key>,
) -> Result<Base> {
    let [(incoming, mut bases), (live, others)] = sides;
    bases.extend(others);
    let missing: BTreeSet<&str> =
        keys.iter().filter(|key| !bases.contains_key(*key)).map(Key::as_str).collect();
    if missing.is_empty() {
        return Ok(Base::of(bases));
    }
    for log in incoming.bases().chain(live.bases()) {
        let has_fork =
            fork_index(log.position(), live.log.position()).is_ok_and(|at| at >= parting.fork_index);
        if !has_fork {
            continue;
        }
        let found = log.entries_at_fork(parting.fork_index, parting.shared, |key| missing.contains(key))?;
        if let Some(found) = found {
            let absent = keys.iter().filter(|key| missing.contains(key.as_str()));
            bases.extend(absent.map(|key| (key.clone(), None)));
            bases.extend(found.into_iter().map(|stored| (stored.record.to_key(), Some(stored))));
            break;
        }
    }
    Ok(Base::of(bases))
}

fn view(state: &Noted, parting: Parting, clock: Clock) -> View<'_> {
    let fork_index = parting.fork_index;
    View { cache: &state.cache, fork_index, decided_until: 0, merged: None, fork: state.fork(), clock }
}

/// Up to which index of its log earlier merges have decided what a side did since the fork: in its own history, or in earlier ones
/// up to where it left them. 0 if nothing of that.
fn merged_until(live: &Cache, lineage: &Lineage, fork_index: u64) -> u64 {
    let histories = lineage.histories();
    let until = histories.iter().enumerate().map(|(at, history)| {
        let decided = live.decided_until(&history.id);
        histories.get(at + 1).map_or(decided, |next| decided.min(next.fork_index))
    });
    until.filter(|until| *until > fork_index).max().unwrap_or(0)
}

/// The histories of a side that go on after the fork.
fn own_histories(lineage: &Lineage, fork_index: u64) -> impl Iterator<Item = &History> {
    let histories = lineage.histories();
    let nexts = histories.iter().skip(1).map(Some).chain([None]);
    let goes_on = move |next: Option<&History>| next.is_none_or(|next| next.fork_index > fork_index);
    histories.iter().zip(nexts).filter(move |(_, next)| goes_on(*next)).map(|(history, _)| history)
}

/// What earlier merges brought in of a node's own history.
fn merged_before(live: &Cache, lineage: &Lineage) -> Merged {
    let current = lineage.current();
    let is_of = |merge: &&Merge| current.kind == HistoryKind::Detached && merge.history == current.id;
    let mut merged = Merged::default();
    for merge in live.merges().iter().filter(is_of) {
        merged.steps.extend(&merge.steps);
        merged.mixed.extend(&merge.mixed);
    }
    merged
}

fn side_header(side: &Side, cache: &Cache, exact: bool) -> SideHeader {
    let history = side.log.lineage.current();
    let (history, number) = (history.id.clone(), history.number);
    SideHeader { source: side.source.clone(), history, number, index: cache.index(), exact }
}

/// The sides of a plan.
#[derive(Clone, Copy)]
struct Views<'a> {
    incoming: View<'a>,
    /// Incoming with all of its log, and the last index that counts, if the plan leaves out the end.
    whole: Option<(View<'a>, u64)>,
    live: View<'a>,
}

fn write(
    header: &PlanHeader,
    views: Views<'_>,
    base: &Base,
    resolver: &dyn Resolver,
    out: &Path,
    progress: &dyn Fn(&'static str, u64),
) -> Result<(PlanFooter, Vec<PlanLine>)> {
    let Views { incoming, whole, live } = views;
    let (mut samples, mut samples_bytes, mut proposals) = (Vec::new(), 0, 0);
    let mut decided: Vec<(Settled, Settled)> = Vec::new();
    let line_of = |proposal: &Proposal, incoming: View<'_>| {
        let stored = |view: View<'_>| view.cache.stored(proposal.key.as_str());
        PlanLine::of(proposal, stored(incoming).as_ref(), stored(live).as_ref())
    };
    let footer = written_aside(out, |file| {
        let mut writer = PlanWriter::new(file, header)?;
        let mut counts = judge_all(incoming, live, &header.rules, base, |proposal| {
            let mut line = line_of(&proposal, incoming);
            let choice = line.case.is_conflict().then(|| resolver.resolve(&line)).flatten();
            if let Some(choice) = choice {
                let before = Settled::from(&line);
                line.decide(choice).map_err(io::Error::other)?;
                decided.push((before, Settled::from(&line)));
            }
            writer.line(&line)?;
            proposals += 1;
            progress("comparing", proposals);
            if line.case.is_conflict() && samples.len() < SAMPLES && samples_bytes < SAMPLES_BYTES {
                samples_bytes += value_bytes(&line.live) + value_bytes(&line.incoming);
                samples.push(line);
            }
            Ok::<(), io::Error>(())
        })?;
        decided.iter().for_each(|(before, after)| counts.decided(*before, *after));
        if let Some((whole, until)) = whole {
            left_out(whole, incoming, until, live, &mut counts, |proposal| {
                writer.line(&line_of(&proposal, whole))
            })?;
        }
        Ok(writer.finish(counts)?)
    })?;
    Ok((footer, samples))
}

fn value_bytes(state: &KeyState) -> usize {
    let text = state.written().and_then(|written| written.value.as_ref().or(written.value_base64.as_ref()));
    text.map_or(0, String::len)
}

/// Writes a plan aside, and gives it its name once it is on disk.
///
/// # Errors
/// It cannot be written, or whatever `write` says.
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
