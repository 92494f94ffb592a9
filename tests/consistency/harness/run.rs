//! A run: round after round until the time is over or something is wrong.

use super::ask::Protocol;
use super::faults::{self, Kind};
use super::nemesis::Deck;
use super::report::{Floor, RunReport};
use super::round::{Plan, play};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What a run is to be.
#[derive(Debug, Clone)]
pub struct Order {
    pub seed: u64,
    pub length: Duration,
    pub round: Duration,
    /// Which faults; all when empty.
    pub kinds: Vec<Kind>,
    /// A lie for the nodes to tell, built in with the feature `sabotage`.
    pub control: Option<String>,
    /// What the clients speak, in turns; some of each.
    pub protocols: Vec<Protocol>,
    pub folder: PathBuf,
    pub floor: Floor,
    /// How to play it again.
    pub command: String,
}

/// Plays rounds until the time is over, or one is bad. The report is in the order's folder.
pub async fn run(order: &Order) -> RunReport {
    let strace = faults::strace_works();
    let all = if order.kinds.is_empty() { Kind::ALL.to_vec() } else { order.kinds.clone() };
    let clocks = crate::support::wall_clock::library().is_some();
    let needs = |kind: &Kind| match (kind.family(), kind) {
        (faults::Family::Disk, Kind::BitFlip | Kind::Truncation) => None,
        (faults::Family::Disk, _) if !strace => Some("strace, and the right to attach it"),
        (faults::Family::Clock, _) if !clocks => Some("libfaketime"),
        _ => None,
    };
    let left_out: Vec<String> =
        all.iter().filter_map(|kind| Some(format!("{}: it needs {}", kind.name(), needs(kind)?))).collect();
    let kinds: Vec<Kind> = all.into_iter().filter(|kind| needs(kind).is_none()).collect();
    let mut report = RunReport {
        seed: order.seed,
        version: env!("CARGO_PKG_VERSION").into(),
        command: order.command.clone(),
        control: order.control.clone(),
        minutes: 0.0,
        caught_after_s: None,
        rounds: Vec::new(),
        wanted: kinds.iter().map(|kind| kind.name()).collect(),
        left_out,
        too_little: Vec::new(),
        verdict: String::new(),
    };
    let mut deck = Deck::new(&kinds, strace, order.seed);
    let begun = Instant::now();
    for number in 1.. {
        let left = order.length.saturating_sub(begun.elapsed());
        if left.is_zero() {
            break;
        }
        let name = format!("round-{number}");
        let plan = plan(order, number, order.round.min(left.max(Duration::from_secs(5))));
        let round = play(&name, &plan, &mut deck, &order.folder.join(&name)).await;
        let good = round.violations.is_empty() && round.undecided.is_empty();
        eprintln!(
            "{name}: {} nodes, seed {}, {} operations, {} episodes: {}",
            plan.shape.nodes,
            plan.seed,
            round.workloads.values().map(|judged| judged.operations).sum::<usize>(),
            round.episodes.len(),
            if good { "good" } else { "BAD" }
        );
        report.rounds.push(round);
        report.minutes = begun.elapsed().as_secs_f64() / 60.0;
        if !good {
            report.caught_after_s = Some(begun.elapsed().as_secs_f64());
            break;
        }
        // What a good round leaves behind is its report and its histories.
        remove_data(&order.folder.join(&name).join("nodes"));
        report.measure(order.floor);
        report.write(&order.folder);
    }
    report.measure(order.floor);
    report.write(&order.folder);
    report
}

/// Three rounds that are checked by models to one that evicts; three nodes and five in turns.
fn plan(order: &Order, number: u64, length: Duration) -> Plan {
    let seed = order.seed.wrapping_mul(1_000_003).wrapping_add(number);
    let nodes = if number % 2 == 1 { 5 } else { 3 };
    let forgets = order.control.as_deref() == Some("forget-touch");
    let mut plan = if number.is_multiple_of(4) || forgets {
        Plan::evicting(seed, nodes, length, number.is_multiple_of(8))
    } else {
        Plan::checked(seed, nodes, length)
    };
    plan.protocols.clone_from(&order.protocols);
    if let Some(lie) = &order.control {
        let lie = vec!["--sabotage".to_owned(), lie.clone()];
        // Forgetting is a difference only when the others do not forget.
        if forgets { plan.shape.first = lie } else { plan.shape.extra = lie }
    }
    plan
}

/// The nodes' data folders; their logs stay.
fn remove_data(nodes: &std::path::Path) {
    for entry in std::fs::read_dir(nodes).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
