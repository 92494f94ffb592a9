//! A whole run: what happened in it, whether that was enough, and a page to read.

use super::faults::Kind;
use super::round::RoundReport;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// A run that is over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunReport {
    pub seed: u64,
    pub version: String,
    /// How to play it again.
    pub command: String,
    /// The lie that the nodes told, if they were asked to.
    pub control: Option<String>,
    pub minutes: f64,
    /// Seconds from the first round's begin to the first violation's being known.
    pub caught_after_s: Option<f64>,
    pub rounds: Vec<RoundReport>,
    /// Kinds of faults that this run was to have, and this machine can do.
    pub wanted: Vec<String>,
    /// Kinds that this machine cannot do, and why.
    pub left_out: Vec<String>,
    /// Too little of something, in sentences; empty as it should be.
    pub too_little: Vec<String>,
    pub verdict: String,
}

/// How much a run must have had to mean anything.
#[derive(Debug, Clone, Copy)]
pub struct Floor {
    pub every_kind: bool,
    pub snapshots_installed: usize,
    pub leaders_a_round: usize,
    pub ok_per_s: f64,
}

impl RunReport {
    pub fn violations(&self) -> usize {
        self.rounds.iter().map(|round| round.violations.len()).sum()
    }

    pub fn undecided(&self) -> usize {
        self.rounds.iter().map(|round| round.undecided.len()).sum()
    }

    fn operations(&self) -> (usize, usize, usize) {
        let judged = || self.rounds.iter().flat_map(|round| round.workloads.values());
        (judged().map(|j| j.ok).sum(), judged().map(|j| j.fail).sum(), judged().map(|j| j.unknown).sum())
    }

    /// Operations whose history a model has judged.
    pub fn checked(&self) -> usize {
        let judged = self.rounds.iter().flat_map(|round| round.workloads.values());
        judged.filter(|judged| judged.verdict.is_some()).map(|judged| judged.operations).sum()
    }

    fn faults(&self) -> BTreeMap<&str, usize> {
        let mut faults = BTreeMap::new();
        let episodes = self.rounds.iter().flat_map(|round| &round.episodes);
        for (name, _) in episodes.flat_map(|episode| &episode.faults) {
            *faults.entry(name.as_str()).or_default() += 1;
        }
        faults
    }

    /// What there was too little of.
    pub fn measure(&mut self, floor: Floor) {
        let mut too_little = Vec::new();
        let faults = self.faults();
        if floor.every_kind {
            for kind in &self.wanted {
                if !faults.contains_key(kind.as_str()) {
                    too_little.push(format!("the fault {kind} never happened"));
                }
            }
        }
        let happened = |kinds: &[Kind]| kinds.iter().any(|kind| faults.contains_key(kind.name().as_str()));
        let wanted = |kinds: &[Kind]| kinds.iter().any(|kind| self.wanted.contains(&kind.name()));
        let minority = [Kind::LeaderAlone, Kind::LeaderInMinority, Kind::Flapping];
        let majority = [Kind::LeaderInMajority];
        for (kinds, what) in [(&minority[..], "minority"), (&majority[..], "majority")] {
            if floor.every_kind && wanted(kinds) && !happened(kinds) {
                too_little.push(format!("the leader was never in the {what} of a partition"));
            }
        }
        let episodes = || self.rounds.iter().flat_map(|round| &round.episodes);
        let taken = episodes().filter(|episode| episode.leader_was_taken()).count();
        let replaced =
            episodes().filter(|episode| episode.leader_was_taken() && episode.leader_was_replaced()).count();
        // A machine that is busy may need longer than a fault lasts, now and then.
        if replaced * 4 < taken * 3 {
            too_little.push(format!(
                "the leader was kept from its followers {taken} times, and replaced {replaced} times"
            ));
        }
        let sum = |count: fn(&RoundReport) -> usize| self.rounds.iter().map(count).sum::<usize>();
        let installed = sum(|round| round.snapshots_installed);
        if installed < floor.snapshots_installed {
            too_little.push(format!(
                "{installed} snapshots were installed, at least {} must be",
                floor.snapshots_installed
            ));
        }
        let leaders = sum(|round| round.leaders);
        if leaders < floor.leaders_a_round * self.rounds.len() {
            too_little.push(format!("{leaders} leaders in {} rounds", self.rounds.len()));
        }
        let seconds: f64 = self.rounds.iter().map(|round| round.seconds).sum();
        let (ok, ..) = self.operations();
        if (ok as f64) < floor.ok_per_s * seconds {
            too_little.push(format!("{ok} operations succeeded in {seconds:.0} s"));
        }
        // Over all rounds: in a short one on a busy machine each rare kind of request may lose against the others.
        let counted = || self.rounds.iter().flat_map(|round| &round.workloads);
        let counts = || counted().flat_map(|(name, judged)| judged.counts.keys().map(move |key| (name, key)));
        let asked = counts().filter_map(|(name, key)| Some((name, key.split(' ').next()?)));
        for (name, op) in asked.collect::<std::collections::BTreeSet<_>>() {
            if !counts().any(|(of, key)| of == name && *key == format!("{op} ok")) {
                too_little.push(format!("no {op} of {name} ever succeeded"));
            }
        }
        for round in &self.rounds {
            if round.sightings == 0 {
                too_little.push(format!("{}: nobody looked at the nodes", round.name));
            }
        }
        self.too_little = too_little;
        self.verdict = match (self.violations(), self.undecided(), self.too_little.len()) {
            (0, 0, 0) => "green".into(),
            (0, 0, _) => "red: too little happened".into(),
            (0, ..) => "red: undecided".into(),
            _ => "red: violations".into(),
        };
    }

    /// Writes `run.json` and `index.html`.
    pub fn write(&self, folder: &Path) {
        let text = serde_json::to_string_pretty(self).expect("a report is JSON");
        std::fs::write(folder.join("run.json"), text).expect("a report");
        std::fs::write(folder.join("index.html"), self.page()).expect("a page");
    }

    /// The last lines on a terminal.
    pub fn summary(&self) -> String {
        let (ok, fail, unknown) = self.operations();
        let mut text = String::new();
        let mut line = |words: String| text.push_str(&(words + "\n"));
        line(format!(
            "{} rounds, {:.1} minutes, seed {}: {} operations ({ok} ok, {fail} failed, {unknown} unknown), {} checked by a model",
            self.rounds.len(),
            self.minutes,
            self.seed,
            ok + fail + unknown,
            self.checked()
        ));
        let faults: usize = self.faults().values().sum();
        let all = self.unavailable();
        line(format!(
            "{faults} faults of {} kinds, {} leaders, {} snapshots installed, {} written; without an acknowledged write for {} ms in the median, {} at most",
            self.faults().len(),
            self.rounds.iter().map(|round| round.leaders).sum::<usize>(),
            self.rounds.iter().map(|round| round.snapshots_installed).sum::<usize>(),
            self.rounds.iter().map(|round| round.snapshots_written).sum::<usize>(),
            median(&all),
            all.last().copied().unwrap_or(0),
        ));
        for words in &self.left_out {
            line(format!("left out: {words}"));
        }
        for words in &self.too_little {
            line(format!("too little: {words}"));
        }
        for round in &self.rounds {
            for words in &round.violations {
                line(format!("VIOLATION in {}: {words}", round.name));
            }
            for words in &round.undecided {
                line(format!("UNDECIDED in {}: {words}", round.name));
            }
        }
        if let Some(seconds) = self.caught_after_s {
            line(format!("caught after {seconds:.1} s"));
        }
        line(format!("verdict: {}", self.verdict));
        text
    }

    fn unavailable(&self) -> Vec<u64> {
        let mut all: Vec<u64> =
            self.rounds.iter().flat_map(|round| round.unavailable_ms.iter().copied()).collect();
        all.sort_unstable();
        all
    }

    /// Milliseconds without an acknowledged write, by the faults of an episode.
    fn unavailable_by_fault(&self) -> BTreeMap<String, Vec<u64>> {
        let mut by_fault: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for round in &self.rounds {
            let troubled = round.episodes.iter().filter(|episode| !episode.faults.is_empty());
            for (episode, ms) in troubled.zip(&round.unavailable_ms) {
                if let [(name, _)] = episode.faults.as_slice() {
                    by_fault.entry(name.clone()).or_default().push(*ms);
                }
            }
        }
        by_fault.values_mut().for_each(|times| times.sort_unstable());
        by_fault
    }

    fn page(&self) -> String {
        let mut page = String::from(HEAD);
        let (ok, fail, unknown) = self.operations();
        let colour = if self.verdict == "green" { "good" } else { "bad" };
        let _ = write!(
            page,
            "<h1>Consistency run: <span class={colour}>{}</span></h1><p>Seed {}, lockstep {}, {:.1} minutes{}. \
             Play it again: <code>{}</code></p><p>{} operations: {ok} ok, {fail} failed, {unknown} with an unknown \
             outcome; {} judged by a model, {} violations, {} undecided.</p>",
            text(&self.verdict),
            self.seed,
            text(&self.version),
            self.minutes,
            self.control.as_ref().map_or_else(String::new, |lie| format!(", nodes that lie ({})", text(lie))),
            text(&self.command),
            ok + fail + unknown,
            self.checked(),
            self.violations(),
            self.undecided(),
        );
        for words in self.too_little.iter().chain(&self.left_out) {
            let _ = write!(page, "<p class=note>{}</p>", text(words));
        }
        for round in &self.rounds {
            for words in round.violations.iter().chain(&round.undecided) {
                let _ = write!(page, "<pre class=bad>{}: {}</pre>", text(&round.name), text(words));
            }
        }
        self.faults_table(&mut page);
        for round in &self.rounds {
            round_section(&mut page, round);
        }
        page.push_str("</main></body></html>");
        page
    }

    fn faults_table(&self, page: &mut String) {
        page.push_str(
            "<h2>Faults</h2><p>Time without an acknowledged write is of episodes with this fault alone, from its \
             begin to when every node served again, held faults included.</p><table><tr><th>Fault<th>times\
             <th>median ms<th>longest ms</tr>",
        );
        let by_fault = self.unavailable_by_fault();
        for (name, times) in self.faults() {
            let alone = by_fault.get(name).map(Vec::as_slice).unwrap_or_default();
            let cell = |value: Option<u64>| value.map_or_else(|| "–".to_owned(), |ms| ms.to_string());
            let middle = cell((!alone.is_empty()).then(|| median(alone)));
            let longest = cell(alone.last().copied());
            let _ = write!(page, "<tr><td>{name}<td>{times}<td>{middle}<td>{longest}</tr>");
        }
        page.push_str("</table>");
    }
}

fn round_section(page: &mut String, round: &RoundReport) {
    let good = round.violations.is_empty() && round.undecided.is_empty();
    let _ = write!(
        page,
        "<h2>{}: <span class={}>{}</span></h2><p>{} nodes, a snapshot every {} entries, {} kept behind it; {:.0} s, \
         seed {}, {} leaders, {} snapshots installed and {} written, {} looks at nodes. \
         <a href=\"{}/round.json\">round.json</a>, <a href=\"{}/nodes/\">the nodes' logs</a></p>",
        text(&round.name),
        if good { "good" } else { "bad" },
        if good { "good" } else { "bad" },
        round.nodes,
        round.snapshot_entries,
        round.entries_kept,
        round.seconds,
        round.seed,
        round.leaders,
        round.snapshots_installed,
        round.snapshots_written,
        round.sightings,
        round.name,
        round.name,
    );
    page.push_str(
        "<table><tr><th>Workload<th>ok<th>failed<th>unknown<th>keys<th>verdict<th>by values alone</tr>",
    );
    for (name, judged) in &round.workloads {
        // A history that nothing explains has a picture beside it.
        let verdict = |verdict: &Option<String>| match verdict.as_deref() {
            None => "–".to_owned(),
            Some("yes") => "yes".to_owned(),
            Some(other) => format!("<a class=bad href=\"{}/{name}.html\">{other}</a>", round.name),
        };
        let _ = write!(
            page,
            "<tr><td><a href=\"{}/{name}.jsonl\">{name}</a><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
            round.name,
            judged.ok,
            judged.fail,
            judged.unknown,
            judged.keys,
            verdict(&judged.verdict),
            verdict(&judged.without_revisions),
        );
    }
    page.push_str("</table>");
    if let Some(replayed) = &round.replayed {
        let _ = write!(
            page,
            "<p>The log was played again on the naive model: {} entries, {} evictions, {} expiries, {} touches, all equal.</p>",
            replayed.entries, replayed.evicted, replayed.expired, replayed.touches
        );
    }
    page.push_str(
        "<details><summary>What happened when</summary><table><tr><th>s<th>healed<th>all serve<th>what</tr>",
    );
    for episode in &round.episodes {
        let seconds = |ns: u64| ns as f64 / 1e9;
        let what: Vec<String> =
            episode.faults.iter().map(|(name, detail)| format!("<b>{name}</b> {}", text(detail))).collect();
        let not_done: Vec<String> =
            episode.not_done.iter().map(|words| format!("not done: {}", text(words))).collect();
        let _ = write!(
            page,
            "<tr><td>{:.1}<td>{:.1}<td>{:.1}<td>{}</tr>",
            seconds(episode.began_ns),
            seconds(episode.healed_ns),
            seconds(episode.ready_ns),
            [what, not_done].concat().join("<br>")
        );
    }
    page.push_str("</table></details>");
}

/// The middle of sorted numbers; 0 of none.
fn median(sorted: &[u64]) -> u64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

fn text(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const HEAD: &str = "<!doctype html><html lang=en><head><meta charset=utf-8><title>Consistency run</title><style>\
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:0}main{max-width:70em;margin:auto;padding:1.5em}\
table{border-collapse:collapse}th,td{text-align:left;padding:.2em .8em .2em 0;border-bottom:1px solid #8884;vertical-align:top;\
font-variant-numeric:tabular-nums}.good{color:light-dark(#00568f,#6bb8ff)}.bad{color:light-dark(#a33b00,#ff9a5c)}\
.note{border-left:3px solid #8888;padding-left:.8em}pre{white-space:pre-wrap;overflow-wrap:anywhere}</style></head><body><main>";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::nemesis::Episode;

    fn run(fault: &str, installed: usize, violations: &[&str]) -> RunReport {
        let episode = Episode {
            faults: vec![(fault.into(), "n1".into())],
            not_done: Vec::new(),
            began_ns: 0,
            healed_ns: 2_000_000_000,
            ready_ns: 2_000_000_001,
            terms: (1, 2),
        };
        let round = RoundReport {
            name: "round-1".into(),
            seed: 1,
            nodes: 3,
            snapshot_entries: 1,
            entries_kept: 1,
            seconds: 10.0,
            workloads: BTreeMap::new(),
            episodes: vec![episode],
            unavailable_ms: vec![600],
            leaders: 2,
            snapshots_installed: installed,
            snapshots_written: 9,
            sightings: 5,
            replayed: None,
            violations: violations.iter().map(|words| (*words).to_owned()).collect(),
            undecided: Vec::new(),
        };
        RunReport {
            seed: 1,
            version: "0".into(),
            command: "x".into(),
            control: None,
            minutes: 1.0,
            caught_after_s: None,
            rounds: vec![round],
            wanted: vec!["leader-alone".into()],
            left_out: Vec::new(),
            too_little: Vec::new(),
            verdict: String::new(),
        }
    }

    #[test]
    fn a_run_with_too_little_in_it_is_red() {
        let floor = Floor { every_kind: true, snapshots_installed: 1, leaders_a_round: 2, ok_per_s: 0.0 };
        let judge = |mut run: RunReport, floor: Floor| {
            run.measure(floor);
            (run.verdict, run.too_little.len())
        };
        assert_eq!(judge(run("leader-alone", 1, &[]), floor), ("green".into(), 0));
        // The kind, and with it the leader's being in a minority.
        assert_eq!(judge(run("kill-all", 1, &[]), floor), ("red: too little happened".into(), 2));
        assert_eq!(judge(run("leader-alone", 0, &[]), floor), ("red: too little happened".into(), 1));
        let mut idle = run("leader-alone", 1, &[]);
        idle.rounds[0].episodes[0].terms = (1, 1);
        assert_eq!(judge(idle, floor), ("red: too little happened".into(), 1), "a cut that cut nothing");
        let busy = Floor { ok_per_s: 1.0, ..floor };
        assert_eq!(judge(run("leader-alone", 1, &[]), busy), ("red: too little happened".into(), 1));
        let shaky = Floor { leaders_a_round: 3, ..floor };
        assert_eq!(judge(run("leader-alone", 1, &[]), shaky), ("red: too little happened".into(), 1));
        assert_eq!(judge(run("leader-alone", 1, &["stale"]), floor), ("red: violations".into(), 0));
    }

    #[test]
    fn the_page_escapes_what_it_shows() {
        let page = run("leader-alone", 1, &["<script>&"]).page();
        assert!(page.contains("&lt;script&gt;&amp;") && !page.contains("<script>"));
    }
}
