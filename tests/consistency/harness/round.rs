//! One round: a fresh cluster, clients, trouble, and the judgement of all that was seen.

use super::ask::Protocol;
use super::cluster::{Cluster, Shape, tail};
use super::load::{Load, REDIS, Recorded};
use super::monitor::{Monitor, Seen};
use super::nemesis::{Deck, Episode, trouble};
use super::network::Network;
use super::replay::{Replayed, replay};
use super::workloads::{self, Workload};
use lockstep::api::{IndexedDigest, Status};
use lockstep::check::{Bounds, Header, History, HistoryWriter, ModelName, Options, Outcome, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How much earlier than its time to live a value may be gone: log time may be ahead of a client's clock by what
/// the nodes' readings of each other's clocks are off.
const EARLY_MS: u64 = 250;
/// When exactly a value must be gone is judged by `invariants/expired_is_gone.rs`; a cluster that stands still
/// keeps it longer.
const LATE_MS: u64 = 120_000;
/// A minute or so.
const TURNS: u64 = 12;
const CHECK_LIMIT: Duration = Duration::from_secs(120);

/// What a round is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub shape: Shape,
    pub mix: Vec<(Workload, u32)>,
    pub clients: u64,
    /// What they speak, in turns.
    pub protocols: Vec<Protocol>,
    /// How often something is broken, or left in peace for a while.
    pub turns: u64,
    /// When to end all the same.
    pub length: Duration,
    /// Play the log again on the naive model at the end; it must be whole.
    pub replays: bool,
}

impl Plan {
    /// The round that follows from a seed.
    pub fn checked(seed: u64, nodes: usize, length: Duration) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        // Few entries between snapshots, so that there are many, and few kept, so that nodes need them.
        let snapshot_entries = [50, 100, 400][random.usize(..3)];
        let entries_kept = [0, 20, 100][random.usize(..3)];
        let shape = Shape {
            nodes,
            snapshot_entries,
            entries_kept,
            capacity_entries: None,
            extra: Vec::new(),
            first: Vec::new(),
        };
        Self {
            seed,
            shape,
            mix: workloads::CHECKED.to_vec(),
            clients: 10,
            protocols: Protocol::ALL.to_vec(),
            turns: TURNS,
            length,
            replays: false,
        }
    }

    /// The same with more keys than there is room for.
    pub fn evicting(seed: u64, nodes: usize, length: Duration, replays: bool) -> Self {
        let mut plan = Self::checked(seed, nodes, length);
        plan.shape.capacity_entries = Some(workloads::eviction::ROOM);
        plan.mix = vec![(Workload::Eviction, 1)];
        plan.replays = replays;
        if replays {
            // The whole log, from its first entry.
            plan.shape.snapshot_entries = 10_000_000;
            plan.shape.entries_kept = 10_000_000;
        }
        plan
    }
}

/// How a history was judged.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Judged {
    pub operations: usize,
    pub ok: usize,
    pub fail: usize,
    pub unknown: usize,
    pub keys: usize,
    /// With revisions, and by values alone; `None` for a workload that is not judged by a model.
    pub verdict: Option<String>,
    pub without_revisions: Option<String>,
    /// By operation and outcome, as in `write ok`, or `redis:write ok` over Redis.
    pub counts: BTreeMap<String, u64>,
    pub check_ms: u64,
}

/// A round that is over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RoundReport {
    pub name: String,
    pub seed: u64,
    pub nodes: usize,
    pub snapshot_entries: u64,
    pub entries_kept: u64,
    pub seconds: f64,
    pub workloads: BTreeMap<String, Judged>,
    pub episodes: Vec<Episode>,
    /// Longest time without an acknowledged write in each episode with a fault, in milliseconds.
    pub unavailable_ms: Vec<u64>,
    pub leaders: usize,
    pub snapshots_installed: usize,
    pub snapshots_written: usize,
    pub sightings: u64,
    pub replayed: Option<Replayed>,
    /// What is wrong, in sentences; empty as it should be.
    pub violations: Vec<String>,
    /// What could not be decided; a failure too.
    pub undecided: Vec<String>,
}

/// Plays a round in a folder of its own.
pub async fn play(name: &str, plan: &Plan, deck: &mut Deck, folder: &Path) -> RoundReport {
    fs::create_dir_all(folder).expect("a folder");
    let network = Network::new(plan.seed);
    let mut report = RoundReport {
        name: name.to_owned(),
        seed: plan.seed,
        nodes: plan.shape.nodes,
        snapshot_entries: plan.shape.snapshot_entries,
        entries_kept: plan.shape.entries_kept,
        seconds: 0.0,
        workloads: BTreeMap::new(),
        episodes: Vec::new(),
        unavailable_ms: Vec::new(),
        leaders: 0,
        snapshots_installed: 0,
        snapshots_written: 0,
        sightings: 0,
        replayed: None,
        violations: Vec::new(),
        undecided: Vec::new(),
    };
    let nodes = folder.join("nodes");
    fs::create_dir_all(&nodes).expect("a folder");
    let mut cluster = match Cluster::start(&nodes, plan.shape.clone(), network).await {
        Ok(cluster) => cluster,
        Err(error) => {
            report.violations.push(format!("the cluster does not start: {error}"));
            return report;
        }
    };
    let begun = Instant::now();
    let monitor = Monitor::start(cluster.directory.clone(), cluster.hopeless.clone());
    let load = Load::start(&cluster.directory, begun, &plan.mix, (plan.clients, &plan.protocols), plan.seed);
    let hopeless = cluster.hopeless.clone();
    let enough = || hopeless.load(Ordering::Acquire);
    let (episodes, result) =
        trouble(&mut cluster, deck, plan.seed, plan.turns, begun, begun + plan.length, enough).await;
    report.episodes = episodes;
    report.violations.extend(result.err());
    if let Err(error) = cluster.heal(true).await {
        report.violations.push(format!("at the end: {error}"));
    }
    let acknowledged = load.shared.clone();
    let (recorded, wrong) = load.finish(!report.violations.is_empty()).await;
    report.violations.extend(wrong);
    report.seconds = begun.elapsed().as_secs_f64();
    report.unavailable_ms = unavailable(&report.episodes, acknowledged.acknowledged());

    let last = last_words(&cluster, &mut report).await;
    let Seen { violations, leaders, sightings, .. } = monitor.finish(&last, &recorded).await;
    report.violations.extend(violations);
    (report.leaders, report.sightings) = (leaders.len(), sightings);
    if plan.replays
        && let Some(status) = last.first()
    {
        let folder = cluster.members[0].node.data_dir.clone();
        for member in cluster.members.iter_mut().filter(|member| member.runs()) {
            member.kill();
        }
        match replay(&folder, status.digest.index, &status.digest.digest) {
            Ok(replayed) => report.replayed = Some(replayed),
            Err(error) => report.violations.push(format!("the log, played again: {error}")),
        }
    }
    drop(cluster);
    read_logs(&nodes, &mut report);
    judge(&recorded, folder, plan, &mut report);
    let text = serde_json::to_string_pretty(&report).expect("a report is JSON");
    fs::write(folder.join("round.json"), text).expect("a report");
    report
}

/// What every node says at an index that all have reached; nothing where they have been found wrong before.
async fn last_words(cluster: &Cluster, report: &mut RoundReport) -> Vec<Status> {
    if !report.violations.is_empty() {
        return Vec::new();
    }
    match cluster.still().await {
        Ok(last) => {
            let digests: Vec<&IndexedDigest> = last.iter().map(|status| &status.digest).collect();
            if digests.windows(2).any(|pair| pair[0] != pair[1]) {
                report.violations.push(format!("at the end the nodes differ: {digests:?}"));
            }
            last
        }
        Err(error) => {
            report.violations.push(format!("at the end: {error}"));
            Vec::new()
        }
    }
}

/// The longest gap between acknowledged writes from just before each episode with a fault to its end.
fn unavailable(episodes: &[Episode], mut acknowledged: Vec<u64>) -> Vec<u64> {
    acknowledged.sort_unstable();
    let troubled = episodes.iter().filter(|episode| !episode.faults.is_empty());
    let gap = |episode: &Episode| {
        let first = acknowledged.partition_point(|at| *at < episode.began_ns).saturating_sub(1);
        let end = acknowledged.partition_point(|at| *at <= episode.ready_ns);
        let times = acknowledged[first.min(end)..end].iter().copied().chain([episode.ready_ns]);
        let mut longest = 0;
        let mut before = None;
        for at in times {
            longest = longest.max(at.saturating_sub(before.unwrap_or(at)));
            before = Some(at);
        }
        longest / 1_000_000
    };
    troubled.map(gap).collect()
}

/// What the nodes' logs tell: snapshots, and panics, which are faults of ours whatever else happens.
fn read_logs(nodes: &Path, report: &mut RoundReport) {
    for entry in fs::read_dir(nodes).expect("a folder").flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let log = fs::read_to_string(&path).unwrap_or_default();
        report.snapshots_installed += log.matches("installed a snapshot").count();
        report.snapshots_written += log.matches("wrote a snapshot").count();
        if log.contains("panicked at") {
            let line = log.lines().find(|line| line.contains("panicked at")).unwrap_or_default();
            report.violations.push(format!("{}: {line}\n{}", path.display(), tail(&log)));
        }
    }
}

/// Writes the histories, and judges each that has a model, with revisions and by values alone.
fn judge(recorded: &Recorded, folder: &Path, plan: &Plan, report: &mut RoundReport) {
    for (workload, operations) in recorded {
        let name = workload.name();
        let count = |outcome| operations.iter().filter(|told| told.outcome == outcome).count();
        let mut judged = Judged {
            operations: operations.len(),
            ok: count(Outcome::Ok),
            fail: count(Outcome::Fail),
            unknown: count(Outcome::Unknown),
            keys: operations.iter().map(|told| &told.key).collect::<std::collections::BTreeSet<_>>().len(),
            verdict: None,
            without_revisions: None,
            counts: BTreeMap::new(),
            check_ms: 0,
        };
        for told in operations {
            let outcome = format!("{:?}", told.outcome).to_lowercase();
            let by = if told.node.ends_with(REDIS) { "redis:" } else { "" };
            *judged.counts.entry(format!("{by}{} {outcome}", told.op)).or_default() += 1;
        }
        let model = workload.model();
        let mut header = match model {
            Some(ModelName::Ttl) => Header::ttl(Bounds { early_ms: EARLY_MS, late_ms: LATE_MS }),
            Some(model) => Header::new(model),
            // Kept for people; no model judges it.
            None => Header::new(ModelName::Register),
        };
        header.about.insert("seed".into(), plan.seed.into());
        header.about.insert("workload".into(), name.into());
        let history = History { header, operations: operations.clone() };
        let path = folder.join(format!("{name}.jsonl"));
        write(&history, &path);
        if let Some(model) = model {
            let begun = Instant::now();
            judged.verdict = Some(decide(&history, true, &path, report));
            if model == ModelName::Register {
                judged.without_revisions = Some(decide(&history, false, &path, report));
            }
            judged.check_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        }
        report.workloads.insert(name.to_owned(), judged);
    }
}

fn write(history: &History, path: &Path) {
    let file = BufWriter::new(File::create(path).expect("a file"));
    let mut writer = HistoryWriter::new(file, &history.header).expect("a header");
    for operation in &history.operations {
        writer.push(operation).expect("an operation");
    }
    writer.finish().expect("a history");
}

/// The verdict; a bad one goes into the report, with a picture beside the history.
fn decide(history: &History, use_revisions: bool, path: &Path, report: &mut RoundReport) -> String {
    let options = Options { deadline: CHECK_LIMIT, use_revisions };
    let found = lockstep::check::check(history, &options);
    if found.verdict != Verdict::Yes {
        let picture = path.with_extension("html");
        fs::write(&picture, lockstep::check::timeline(&path.display().to_string(), &found))
            .expect("a picture");
    }
    let how = if use_revisions { "" } else { " (by values alone)" };
    for failure in &found.failures {
        let place = path.display();
        report.violations.push(format!("{place}{how}: key {}: {}", failure.key, failure.reason));
    }
    for doubt in &found.undecided {
        report.undecided.push(format!("{}{how}: key {}: {}", path.display(), doubt.key, doubt.reason));
    }
    found.verdict.as_str().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_of_an_episode_counts() {
        let ms = |at: u64| at * 1_000_000;
        let episode = |fault: bool, from: u64, to: u64| Episode {
            faults: if fault { vec![("kill-leader".into(), "n1".into())] } else { Vec::new() },
            not_done: Vec::new(),
            began_ns: ms(from),
            healed_ns: ms(to),
            ready_ns: ms(to),
            terms: (0, 0),
        };
        let acknowledged = [90, 100, 130, 700, 710, 1_000, 1_010].map(ms).to_vec();
        let episodes = [episode(true, 120, 800), episode(false, 0, 2_000), episode(true, 1_005, 1_400)];
        assert_eq!(unavailable(&episodes, acknowledged), [570, 390]);
        assert_eq!(unavailable(&episodes[..1], Vec::new()), [0], "nothing to compare with");
    }
}
